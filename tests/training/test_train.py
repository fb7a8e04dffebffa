"""Training as a whole: heads learn, what was made is served and told of, and whatever is wrong is one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from typer.testing import CliRunner

from tests.model.checkpoint import tiny
from tests.model.checkpoint.test_atomic_files import full_disk
from tests.model.conftest import MINILM
from tests.training.runs import Silent, build_run, values
from worker.cli import app
from worker.commands.training.train import run as run_command
from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import locate
from worker.model.engine import Engine
from worker.records import Task
from worker.settings import DEFAULT_MODEL
from worker.training.card import card
from worker.training.config import check_run
from worker.training.data.corpora import RatedSentence
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation.evaluate import predictions
from worker.training.learning import tasks, word_pieces
from worker.training.train import described, train

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model


def test_from_texts_to_a_checkpoint_that_serves(tmp_path: Path) -> None:
    """The heads learn simple texts; manifest and card have the scores and no local path."""
    shape = values(tmp_path, epochs=20) | {"encoder": MINILM, "name": "mine"}
    for head in shape["heads"]:
        head["layers"] = [3, 6]
    run = check_run(shape, source="test")
    (directory,) = train(run, Silent())
    manifest, text = json.loads((directory / "manifest.json").read_text()), (directory / "README.md").read_text()
    scores = manifest["training"]["scores"]["float32"]
    assert scores["mood"]["held out"]["accuracy"] > 0.9
    assert scores["ner"]["held out"]["all"]["f1"] > 0.9
    assert f"| held out | {scores['mood']['held out']['accuracy']:.3f} |" in text
    assert manifest["training"]["configuration"] == described(run)
    assert set(manifest["training"]["data"]) == {"texts/moods.jsonl", "texts/people.conll"}
    assert manifest["training"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert str(tmp_path) not in text + json.dumps(manifest)
    assert 1 not in [head["temperature"] for head in manifest["heads"]]
    assert "folder" not in manifest["encoder"]
    assert {path.name for path in directory.iterdir()} == {"manifest.json", "README.md", "heads.safetensors"}
    first = (directory / "heads.safetensors").read_bytes()
    told = Silent()
    train(run.model_copy(update={"output": tmp_path / "again"}), told)
    assert not [line for line in told.lines if line.startswith("encoding")]
    assert (tmp_path / "again" / "heads.safetensors").read_bytes() == first
    assert Engine.load(str(directory), device="cpu").tasks == {"embed", "classify", "ner"}


def test_a_tuned_encoder_is_in_the_checkpoint_and_the_seed_decides(tmp_path: Path) -> None:
    """The same seed gives the same files, and another seed gives others."""
    digests = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        run = check_run(values(tmp_path, "end-to-end", threads=2) | {"output": tmp_path / place, "seed": seed}, source="test")
        train(run, Silent())
        manifest = json.loads((tmp_path / place / "manifest.json").read_text())
        digests.append((manifest["heads_sha256"], manifest["encoder"]["files"]["model.safetensors"]))
    assert digests[0] == digests[1] != digests[2]
    assert manifest["encoder"]["folder"] == "encoder"
    tuned = checkpoint.load(str(tmp_path / "a")).encoder.words.weight
    assert not torch.equal(tuned, checkpoint.load(str(tmp_path / "encoder")).encoder.words.weight)


def test_separate_models_are_several_checkpoints(tmp_path: Path) -> None:
    """Each head has a checkpoint with its own encoder."""
    made = train(build_run(tmp_path, "separate", max_steps=4), Silent())
    assert made == [tmp_path / "out" / "mood", tmp_path / "out" / "ner"]
    assert [list(checkpoint.load(str(text)).heads.heads) for text in made] == [["mood"], ["ner"]]
    encoders = [checkpoint.load(str(text)).encoder.words.weight for text in made]
    assert not torch.equal(*encoders)


def test_every_kind_of_head_learns_and_is_scored(tmp_path: Path) -> None:
    """Multi-label heads, more hidden layers, context words and a CRF reach their floors as served."""
    several = tmp_path / "texts" / "several.jsonl"
    shape = values(tmp_path, "end-to-end", epochs=25)
    lines = [
        {"text": f"{name} lives in {place}", "labels": ["a"] * (name in tiny.NAMES[:4]) + ["b"] * (place in tiny.PLACES[:4])}
        for name in tiny.NAMES
        for place in tiny.PLACES
    ]
    several.write_text("\n".join(json.dumps(line) for line in lines))
    cut = {"dev_share": 0.2, "test_share": 0.2}
    shape["heads"][0] |= {"num_hidden_layers": 2, "data": {"train": [several], **cut}}
    shape["heads"][1] |= {"context_words": 1, "has_crf": True}
    (directory,) = train(check_run(shape, source="test"), Silent())
    manifest = json.loads((directory / "manifest.json").read_text())
    scores = manifest["training"]["scores"]["float32"]
    history = manifest["training"]["history"][-1]["dev"]
    assert history["mood"] > 0.5
    assert history["ner"] > 0.8
    assert scores["mood"]["held out"]["f1"] > 0.5
    assert scores["ner"]["held out"]["all"]["f1"] > 0.8
    assert "| mood | F1 over all labels | texts |" in (directory / "README.md").read_text()


@pytest.mark.parametrize("strategy", ["frozen", "end-to-end"])
def test_a_head_with_attention_is_served_as_it_was_trained(tmp_path: Path, strategy: str) -> None:
    """The engine reaches the accuracy, and a text has the same scores alone and in a batch."""
    shape = values(tmp_path, strategy, epochs=20)
    shape["heads"] = [shape["heads"][0] | {"has_attention": True}]
    (directory,) = train(check_run(shape, source="test"), Silent())
    training = json.loads((directory / "manifest.json").read_text())["training"]
    assert training["scores"]["float32"]["mood"]["held out"]["accuracy"] > 0.8
    engine = Engine.load(str(directory), device="cpu", dtype="float32", backend="eager")
    lines = (tmp_path / "texts" / "moods.jsonl").read_text().splitlines()[:8]
    texts = [*(json.loads(line)["text"] for line in lines), "love"]
    together, alone = (
        predictions(engine, texts, Task.CLASSIFY),
        (next(predictions(engine, [text], Task.CLASSIFY)) for text in texts),
    )
    for one, other in zip(together, alone, strict=True):
        assert one.labels is not None
        assert other.labels is not None
        assert one.labels["mood"].scores == pytest.approx(other.labels["mood"].scores, abs=1e-5)


def test_a_head_goes_on_a_tuned_checkpoint(tmp_path: Path) -> None:
    """The manifest names the encoder in the tuned checkpoint."""
    train(build_run(tmp_path, "end-to-end", epochs=1), Silent())
    shape = values(tmp_path, epochs=1) | {"encoder": str(tmp_path / "out"), "output": tmp_path / "on-top"}
    train(check_run(shape, source="test"), Silent())
    assert json.loads((tmp_path / "on-top" / "manifest.json").read_text())["encoder"]["reference"] == str(
        tmp_path / "out" / "encoder"
    )


def test_a_full_disk_is_one_line_and_the_state_of_before_stays(tmp_path: Path) -> None:
    """The next run trains all three epochs."""
    run = build_run(tmp_path, "end-to-end")
    with full_disk(20_000), pytest.raises(BadSettings, match=r"unfinished\.pt: cannot be written: .*File too large"):
        train(run, Silent())
    told = Silent()
    train(run, told)
    assert sum(line.startswith("epoch") for line in told.lines) == 3


def test_another_run_in_the_same_place_is_refused_until_it_may_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with another seed cannot use the unfinished state; `is_fresh` starts it."""
    monkeypatch.setattr("worker.training.train.calibrate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(build_run(tmp_path), Silent())
    monkeypatch.undo()
    other = check_run(values(tmp_path) | {"seed": 5}, source="test")
    with pytest.raises(BadSettings, match="had other settings or data; --fresh starts again"):
        train(other, Silent())
    train(other, Silent(), is_fresh=True)


def test_the_command_trains_what_a_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Flags replace values of the file; the card is on standard output and the progress on standard error."""
    values(tmp_path)
    path = tmp_path / "run.toml"
    path.write_text(
        f'name = "mine"\nencoder = "{tmp_path}/encoder"\ncache = "{tmp_path}/cache"\n'
        '[training]\nepochs = 1\n[[heads]]\nname = "mood"\ntask = "classify"\n'
        '[heads.data]\ntrain = ["texts/moods.jsonl"]\ntest_share = 0.2\n'
    )
    run_command(path, output=tmp_path / "made", name="other")
    shown = capsys.readouterr()
    assert shown.out.startswith("# other\n")
    assert "epoch 1: loss" in shown.err
    with pytest.raises(BadSettings, match=r"run\.toml defines the data: leave --labels"):
        run_command(path, labels=[path])


def test_flags_name_the_columns_of_the_files(tmp_path: Path) -> None:
    """The flags apply to the files of `--labels`, and a card without scores has no section of scores."""
    encoder = values(tmp_path)["encoder"]
    moods = [json.loads(line) for line in (tmp_path / "texts" / "moods.jsonl").read_text().splitlines()]
    (tmp_path / "odd.txt").write_text("ticket;id;klass\n" + "".join(f"{mood['text']};7;{mood['label']}\n" for mood in moods))
    command = ["train", str(tmp_path / "made"), "--encoder", encoder, "--cache", str(tmp_path / "cache")]
    command += ["--labels", str(tmp_path / "odd.txt"), "--ner-train", str(tmp_path / "texts" / "people.conll")]
    result = CliRunner().invoke(app, [*command, "--format", "csv"])
    assert "odd.txt: which column is the text? Name one of ticket, id, klass (--text-column" in str(result.exception)
    named = [*command, "--text-column", "ticket", "--label-column", "3", "--format", "csv"]
    result = CliRunner().invoke(app, [*named, "--head", "topic", "--test-share", "0"], catch_exceptions=False)
    assert "| topic | classify | bad, good |" in result.stdout
    assert "###" not in result.stdout
    assert "Without a score, because no text was held out: topic, ner." in result.stdout


def test_flags_hold_texts_out_and_the_last_line_serves_the_model(tmp_path: Path) -> None:
    """The card has the score of a tenth of the texts, and the head has the name of the label column."""
    encoder = values(tmp_path)["encoder"]
    moods = [json.loads(line) for line in (tmp_path / "texts" / "moods.jsonl").read_text().splitlines()]
    rows = [f"{mood['text']},{mood['label']}\n" for mood in moods]
    (tmp_path / "moods.csv").write_text("text,klass\n" + "".join(rows))
    command = ["train", str(tmp_path / "made"), "--encoder", encoder, "--cache", str(tmp_path / "cache")]
    command += ["--labels", str(tmp_path / "moods.csv"), "--label-column", "klass"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert "| klass | accuracy | 95 % | majority class | texts |\n| --- | --- | --- | --- | --- |\n| held out | " in result.stdout
    assert result.stdout.endswith(f"written to {tmp_path}/made; serve it with: GIST_MODEL={tmp_path}/made gist-stream run\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run.toml", "--text-column", "body"], "run.toml defines the layout of files: set text_column, label_column"),
        (
            ["made", "--label-column", "mood"],
            "--text-column, --label-column, --format and --test-share need --labels or --ner-train",
        ),
    ],
)
def test_columns_of_no_file_are_refused(arguments: list[str], reason: str) -> None:
    """The flags are refused with a TOML file and with the built-in texts."""
    result = CliRunner().invoke(app, ["train", *arguments])
    assert reason in str(result.exception)


def test_flags_are_a_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The sentiment head learns rated sentences; files of entities add a second head with the standard types."""
    rated = [RatedSentence("movies", f"{tiny.build_words(n)} {('love', 'hate')[n % 2]}", 2.0 - 4 * (n % 2)) for n in range(100)]
    monkeypatch.setattr(tasks, "rated_sentences", lambda _cache: rated)
    shape = values(tmp_path)
    corpus = tmp_path / "texts" / "people.conll"
    corpus.write_text(corpus.read_text().replace("B-PER", "B-person"))
    run_command(
        tmp_path / "made",
        encoder=shape["encoder"],
        cache=tmp_path / "cache",
        strategy="transfer",
        ner_train=[corpus],
        test_share=0,
    )
    assert "strategy `transfer`" in capsys.readouterr().out
    heads = checkpoint.load(str(tmp_path / "made")).modules
    assert [head.config.labels for head in heads.values()] == [
        ("negative", "positive"),
        ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"),
    ]


def test_words_are_labelled_by_where_they_start() -> None:
    """The first word of an entity has `B-`, the words after it have `I-`; a span may have several words."""
    text = TaggedText("hey @ada b", (Span("PER", 4, 10),))
    assert word_pieces.align_word_labels(text, [0, 4, 5, 9]) == ["O", "B-PER", "I-PER", "I-PER"]
    assert word_pieces.mark_handles(text.text, [0, 4, 5, 9]).tolist() == [False, True, True, False]


def test_the_shipped_card_says_what_its_manifest_says() -> None:
    """The card is generated from the manifest, and the floors hold in every number format."""
    directory = locate(DEFAULT_MODEL).directory
    manifest = json.loads((directory / "manifest.json").read_text())
    heads = [head.config for head in checkpoint.load(DEFAULT_MODEL).heads.heads.values()]
    expected = card(manifest["name"], manifest["encoder"]["reference"], heads, manifest["training"])
    assert (directory / "README.md").read_text() == expected
    for scores in manifest["training"]["scores"].values():
        assert scores["sentiment"]["movies"]["accuracy"] >= 0.78
        assert scores["ner"]["broad-twitter-corpus/f.conll"]["all"]["f1"] >= 0.58

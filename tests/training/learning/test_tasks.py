"""From files to rows: sides, labels, words, and what is said of data from which nothing can be learned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.model.checkpoint import tiny
from tests.training.runs import build_tasks, values
from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.training.config import check_run
from worker.training.data.corpora import RatedSentence
from worker.training.data.examples import Span, TaggedText
from worker.training.data.splits import Side
from worker.training.learning import tasks as module
from worker.training.learning.losses import UNKNOWN
from worker.training.learning.tasks import add_texts, concatenate_ranges, split_share

if TYPE_CHECKING:
    from pathlib import Path

    from worker.training.learning.tasks import TrainingTask

pytestmark = pytest.mark.model


def tasks_with(directory: Path, number: int, **changes: Any) -> list[TrainingTask]:
    """Return the tasks of a run whose head of this number has other data."""
    shape = values(directory)
    shape["heads"][number]["data"] |= changes
    run = check_run(shape, source="test")
    return build_tasks(run, checkpoint.load(run.encoder))


def test_a_text_is_a_row_of_one_head_and_a_word_of_the_other(tmp_path: Path) -> None:
    """Labels are those of the data, sides have the wanted sizes, and each text is on one side."""
    mood, ner = tasks_with(tmp_path, 0)
    assert (mood.head.labels, ner.head.labels) == (("bad", "good"), ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
    assert mood.starts[-1] == len(mood.targets) == 96
    assert ner.starts[-1] == len(ner.targets) == 64 * 4
    assert [ner.head.labels[target] for target in ner.targets[:4]] == ["B-PER", "O", "O", "B-LOC"]
    assert sorted(np.concatenate(list(mood.sides.values())).tolist()) == list(range(96))
    assert len(mood.sides[Side.TEST]) == len(mood.held_out["held out"]) == pytest.approx(0.2 * 96, abs=2)
    rows, starts = ner.rows(np.array([3, 1]))
    assert (rows.tolist(), starts.tolist()) == ([12, 13, 14, 15, 4, 5, 6, 7], [0, 4, 8])
    assert set(ner.sources) == {"texts/people.conll"}


def test_a_token_is_a_row_of_a_head_with_attention(tmp_path: Path) -> None:
    """The targets are still those of the texts."""
    shape = values(tmp_path)
    shape["heads"][0]["has_attention"] = True
    run = check_run(shape, source="test")
    mood, _ = build_tasks(run, checkpoint.load(run.encoder))
    texts = np.array([3, 1])
    rows, starts = mood.rows(texts)
    assert np.diff(starts).tolist() == [len(mood.tokens[text]) for text in texts]
    assert rows[0] == sum(len(own_tokens) for own_tokens in mood.tokens[:3])
    assert mood.get_targets(texts).tolist() == [mood.targets[3], mood.targets[1]]


def test_rejected_answers_are_counted_over_all_files(tmp_path: Path) -> None:
    """Rejected texts are on no side."""
    for name in ("one", "two"):
        answers = [("accept", "reject")[n % 5 == 0] for n in range(20)]
        lines = [{"text": f"{name} {chr(97 + n)}", "label": ("x", "y")[n % 2], "answer": answers[n]} for n in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    mood, _ = tasks_with(tmp_path, 0, train=[tmp_path / "one.jsonl"], test=[tmp_path / "two.jsonl"])
    assert (mood.num_rejected, len(mood.examples)) == (8, 32)


def test_texts_may_have_several_labels(tmp_path: Path) -> None:
    """Each text has one binary target for each label."""
    lines = [
        {"text": f"{word} {tiny.build_words(n)}", "labels": labels}
        for n in range(20)
        for word, labels in ((" a", ["x"]), ("b", []))
    ]
    (tmp_path / "several.jsonl").write_text("\n".join(json.dumps(line | {"labels": [*line["labels"], "y"]}) for line in lines))
    mood, _ = tasks_with(tmp_path, 0, train=[tmp_path / "several.jsonl"])
    assert (mood.head.labels, mood.head.is_multi_label, mood.targets.shape) == (("x", "y"), True, (40, 2))
    assert [row.tolist() for row in np.unique(mood.targets, axis=0)] == [[0.0, 1.0], [1.0, 1.0]]


def test_ranges_may_be_empty() -> None:
    """A text without words has no rows."""
    numbers, starts = concatenate_ranges(np.array([5, 5, 9]), np.array([7, 5, 10]))
    assert (numbers.tolist(), starts.tolist()) == ([5, 6, 9], [0, 2, 2, 3])


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    """A larger share adds texts and replaces none; the smallest share has one text."""
    few, more = split_share(1000, 0.01, 3), split_share(1000, 0.2, 3)
    assert (len(few), len(more), len(split_share(10, 0.001, 0))) == (10, 200, 1)
    assert set(few) < set(more)


def test_files_of_their_own_are_the_sides(tmp_path: Path) -> None:
    """Held-out figures have the file's name, and texts of dev or test are removed from train."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "held.conll").write_text("ada\tB-PER\nlives\tO\nin\tO\nparis\tB-LOC\n\nlise\tB-PER\nin\tO\nrome\tB-LOC\n")
    _, ner = tasks_with(tmp_path, 1, test=[tmp_path / "mine" / "held.conll"], test_share=0.5)
    assert list(ner.held_out) == ["mine/held.conll"]
    assert len(ner.sides[Side.TEST]) == 2
    assert sum(example.text == "ada lives in paris" for example in ner.examples) == 1


def test_handles_that_are_not_tagged_teach_nothing(tmp_path: Path) -> None:
    """With `skips_untagged_handles` the words of untagged handles have unknown labels."""
    path = tmp_path / "handles.conll"
    path.write_text("\n\n".join(f"@ada\tO\nlives\tO\nin\tO\n{place}\tB-LOC\n@{place}\tB-PER" for place in ("rome", "bern", "oslo")))
    changes = {"train": [path], "dev_share": 0.4, "test_share": 0.0}
    _, told = tasks_with(tmp_path, 1, **changes)
    _, skipped = tasks_with(tmp_path, 1, **changes, skips_untagged_handles=True)
    assert UNKNOWN not in told.targets
    assert np.count_nonzero(skipped.targets == UNKNOWN) == 3 * 2
    assert np.array_equal(skipped.targets[2:6], told.targets[2:6])


def test_more_texts_are_learned_from_and_nothing_else(tmp_path: Path) -> None:
    """Added texts are on the training side only; an entity type that the head does not learn is refused."""
    shape = values(tmp_path)
    run = check_run(shape, source="test")
    loaded = checkpoint.load(run.encoder)
    _, ner = build_tasks(run, loaded)
    more = add_texts(ner, loaded, [TaggedText("ada in oslo", (Span("PER", 0, 3), Span("LOC", 7, 11)))])
    rows, _ = more.rows(np.array([64]))
    assert [more.head.labels[target] for target in more.targets[rows]] == ["B-PER", "O", "B-LOC"]
    assert set(more.sides[Side.TRAIN]) - set(ner.sides[Side.TRAIN]) == {64}
    assert np.array_equal(more.sides[Side.DEV], ner.sides[Side.DEV])
    with pytest.raises(BadSettings, match=r"'ner' learns no 'ORG'"):
        add_texts(ner, loaded, [TaggedText("ada", (Span("ORG", 0, 3),))])


def test_rated_sentences_say_how_sure_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets are probabilities without neutral ratings; sections can be chosen and name the held-out figures."""
    rated = [RatedSentence(("movies", "tweets")[n % 2], tiny.build_words(n), (n % 7) - 3.0) for n in range(400)]
    monkeypatch.setattr(module, "rated_sentences", lambda _cache: rated)
    shape = values(tmp_path)
    shape["heads"][0]["data"] = {"builtin": "ratings", "sections": ["tweets"]}
    run = check_run(shape, source="test")
    mood, _ = build_tasks(run, checkpoint.load(run.encoder))
    assert mood.head.labels == ("negative", "positive")
    assert list(mood.held_out) == ["tweets"]
    assert mood.targets.dtype == np.float32
    assert {round(float(target), 3) for target in mood.targets} == {0.011, 0.047, 0.182, 0.818, 0.953, 0.989}
    shape["heads"][1]["data"] = {"builtin": "ratings"}
    with pytest.raises(BadSettings, match="'ner': rated sentences hold no entities"):
        build_tasks(check_run(shape, source="test"), checkpoint.load(run.encoder))


@pytest.mark.parametrize(
    ("number", "changes", "reason"),
    [
        (0, {"labels": {"god": "good"}}, r"the label map names 'god', which no text has"),
        (0, {"labels": {"good": "bad"}}, r"moods\.jsonl: nothing to learn: the labels are bad"),
        (1, {"drops_other_labels": True}, r"people\.conll: nothing to learn: the entities are none"),
        (0, {"dev_share": 0.0}, r"'mood' has no text on its dev side"),
        (1, {"train": ["none.conll"]}, r"none\.conll: cannot be read: No such file"),
    ],
)
def test_data_that_cannot_be_learned_are_one_line(tmp_path: Path, number: int, changes: dict[str, Any], reason: str) -> None:
    """The error names the file or the head."""
    with pytest.raises(BadSettings, match=reason):
        tasks_with(tmp_path, number, **changes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"text": "a", "label": "good"}\n{"text": }', r"broken\.jsonl:2: not JSON"),
        ("ada\tB-PER\nlives\tO\n", r"broken\.jsonl"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: str, reason: str) -> None:
    """The error is that of the reader."""
    (tmp_path / "broken.jsonl").write_text(content)
    with pytest.raises(BadSettings, match=reason):
        tasks_with(tmp_path, 0, train=[tmp_path / "broken.jsonl"])


def test_unknown_and_empty_labels_are_named(tmp_path: Path) -> None:
    """An unwanted label, a label without training text and a file of another kind are refused."""
    for labels, reason in (
        (["good"], r"the label 'bad' is none of the labels to learn"),
        (["good", "bad", "meh"], r"has the label 'meh'"),
    ):
        shape = values(tmp_path)
        shape["heads"][0]["labels"] = labels
        run = check_run(shape, source="test")
        with pytest.raises(BadSettings, match=reason):
            build_tasks(run, checkpoint.load(run.encoder))
    shape = values(tmp_path)
    shape["heads"][0]["data"] = shape["heads"][1]["data"]
    with pytest.raises(
        BadSettings, match=r"people\.conll: the kind of the file is entities; the head 'mood' needs texts with labels"
    ):
        build_tasks(check_run(shape, source="test"), checkpoint.load(shape["encoder"]))

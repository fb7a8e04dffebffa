"""The import of published models: a checkpoint of ours, or a head in one, with a comparison with transformers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save_file

from tests.model.published import TEXTS, publish_family
from worker.commands.training.import_published import import_published
from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
TAGS = ["O", "B-PER", "I-PER"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Give a file of texts."""
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    return tmp_path / "texts.txt"


def publish_encoder(folder: Path) -> tuple[Path, Path]:
    """Write a classifier and a tagger on one encoder; return their directories."""
    classifier = publish_family(folder / "classifier", "bert", "ForSequenceClassification", labels=["bad", "meh", "good"])
    tagger = publish_family(folder / "tagger", "bert", "ForTokenClassification", labels=TAGS)
    shared = {name: tensor for name, tensor in load_file(classifier / "model.safetensors").items() if "pooler" not in name}
    own = load_file(tagger / "model.safetensors")
    save_file({name: shared[name] if name.startswith("bert.") else own[name] for name in own}, tagger / "model.safetensors")
    return classifier, tagger


def test_an_import_shows_what_it_would_write(tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --execute nothing is written; the comparison is shown."""
    source = publish_family(tmp_path / "p", "bert", "ForTokenClassification", labels=TAGS)
    import_published(str(source), tmp_path / "mine", name="people", texts=texts)
    shown = capsys.readouterr().out
    assert "people: ner, O, B-PER, I-PER" in shown
    assert "equal_entities   1.0" in shown
    assert "nothing was written" in shown
    assert not (tmp_path / "mine").exists()


def test_an_imported_checkpoint_serves_the_head_and_names_its_source(tmp_path: Path, texts: Path) -> None:
    """The published directory is no longer needed."""
    source = publish_family(tmp_path / "p", "distilbert", "ForSequenceClassification", labels=["bad", "good"])
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    expected = [found.labels for found in predictions(Engine.load(str(source), device="cpu"), TEXTS, Task.CLASSIFY)]
    import_published(str(source), tmp_path / "mine", name="topics", texts=texts, execute=True)
    shutil.rmtree(source)
    engine = Engine.load(str(tmp_path / "mine"), device="cpu")
    found = [found.labels or {} for found in predictions(engine, TEXTS, Task.CLASSIFY)]
    assert [own["topics"] for own in found] == [(own or {})["p"] for own in expected]
    assert engine.tasks == {Task.CLASSIFY}
    assert engine.name.startswith("topics@")
    (about,) = json.loads((tmp_path / "mine" / "manifest.json").read_text())["training"]["imported"]
    assert about["licence"] == "mit"
    assert about["architecture"] == "DistilBertForSequenceClassification"
    assert about["report"]["equal_labels"] == 1.0
    assert about["report"]["largest_difference"] < 1e-3


def test_a_head_on_the_same_encoder_shares_the_pass(tmp_path: Path, texts: Path) -> None:
    """One checkpoint has both heads, and each answers as it was published."""
    classifier, tagger = publish_encoder(tmp_path)
    import_published(str(classifier), tmp_path / "mine", name="moods", texts=texts, execute=True)
    import_published(str(tagger), add_to=tmp_path / "mine", name="people", texts=texts, execute=True)
    loaded = checkpoint.load(str(tmp_path / "mine"))
    assert list(loaded.heads.heads) == ["moods", "people"]
    engine = Engine.load(str(tmp_path / "mine"), device="cpu")
    assert engine.tasks == {Task.CLASSIFY, Task.NER}
    found, expected = (
        [[(e.type, e.start, e.end) for e in own.entities or ()] for own in predictions(model, TEXTS, Task.NER)]
        for model in (engine, Engine.load(str(tagger), device="cpu"))
    )
    assert found == expected
    with pytest.raises(BadSettings, match="has a head 'people' already"):
        import_published(str(tagger), add_to=tmp_path / "mine", name="people", texts=texts, execute=True)


def test_what_cannot_be_imported_is_one_line(tmp_path: Path, texts: Path) -> None:
    """Before anything is written."""
    source = publish_family(tmp_path / "p", "bert", "ForSequenceClassification", labels=["bad", "good"])
    other = publish_family(tmp_path / "q", "bert", "ForSequenceClassification", labels=["a", "b"], num_hidden_layers=2)
    bare = publish_family(tmp_path / "bare", "bert")
    import_published(str(source), tmp_path / "mine", texts=texts, execute=True)
    with pytest.raises(BadSettings, match="its encoder or tokenizer is not that of"):
        import_published(str(other), add_to=tmp_path / "mine", name="q")
    with pytest.raises(BadSettings, match="an encoder without a head has nothing to add"):
        import_published(str(bare), add_to=tmp_path / "mine")
    with pytest.raises(BadSettings, match="not a checkpoint, which has a manifest"):
        import_published(str(source), add_to=other)
    with pytest.raises(BadSettings, match="this is a checkpoint already"):
        import_published(str(tmp_path / "mine"), tmp_path / "again")
    with pytest.raises(BadSettings, match="there is something already"):
        import_published(str(source), tmp_path / "mine")
    with pytest.raises(BadSettings, match="give either a directory"):
        import_published(str(source))

"""Published classifiers and taggers are served with their own heads, exactly as transformers computes them."""

from __future__ import annotations

import re
import warnings
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.model import published
from tests.model.checkpoint.published import rewrite
from tests.model.published import publish_family
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.served import read_tasks
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from worker.model.backends.choice import BackendName

pytestmark = pytest.mark.model
FAMILIES = published.FAMILIES
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
_PEOPLE, _PLACES = ["Ada Lovelace", "Grace", "Linus", "Søren", "Mei Lin"], ["London", "New York", "São Paulo", "Zürich", "Oslo"]
_FORMS = [
    "{p} lives in {l}.", "I met {p} in {l} yesterday!", "{l} is where {p} was born (in 1969).", "Did {p}, of {l}, call?",
    "{p} moved to {l}, and nobody came; it's late.", "{l}: {p}", "The train to {l} is late, {p} said.", "{p}-{l} {p}",
]  # fmt: skip
# The tokenizer of the tiny MPNet gives unknown words the number by which transformers knows padding.
_KNOWN = {"mpnet": published.TEXTS}
TEXTS = [form.format(p=person, l=place) for form, person, place in product(_FORMS, _PEOPLE, _PLACES)]


def _choose_texts(family: str) -> list[str]:
    """Return 200 texts for BERT, and fewer for the others."""
    return TEXTS if family == "bert" else _KNOWN.get(family, TEXTS[::5])


def load(directory: Path, *, backend: BackendName = "auto") -> Engine:
    """Load a published directory in fp32."""
    return Engine.load(str(directory), device="cpu", dtype="float32", backend=backend)


def build_pipeline(task: str, directory: Path, **options: Any) -> Any:
    """Return the pipeline of transformers."""
    from transformers import pipeline  # noqa: PLC0415  heavy

    return pipeline(task, model=str(directory), device=-1, **options)


def tag_with_transformers(directory: Path, texts: Sequence[str]) -> list[list[tuple[str, str, float]]]:
    """Return the type, the characters and the score of the entities of each text, for the words of the text."""
    pipeline = build_pipeline("token-classification", directory, aggregation_strategy="first")
    gather = pipeline.gather_pre_entities

    def gather_words(sentence: str, *arguments: Any, **options: Any) -> list[dict[str, Any]]:
        """Mark the tokens that begin within a word: the library sees white space alone where a tokenizer has no mark of its own."""
        every: list[dict[str, Any]] = gather(sentence, *arguments, **options)
        # A token of white space alone is no word.
        found = [token for token in every if token["word"] not in ("\u2581", "\u0120")]
        for token in found:
            token["start"] += len(sentence[token["start"] : token["end"]]) - len(sentence[token["start"] : token["end"]].lstrip())
            token["is_subword"] = bool(re.fullmatch(r"[^\W_]{2}", sentence[max(0, token["start"] - 1) : token["start"] + 1]))
        return found

    pipeline.gather_pre_entities = gather_words
    warnings.filterwarnings("ignore", "Tokenizer does not support real words")
    return [
        [(entity["entity_group"], text[entity["start"] : entity["end"]], float(entity["score"])) for entity in entities]
        for text, entities in zip(texts, pipeline(list(texts), batch_size=32), strict=True)
    ]


def tag(engine: Engine, texts: Sequence[str]) -> Iterator[list[tuple[str, str, float]]]:
    """Yield the type, the characters and the score of the entities of each text."""
    for prediction in predictions(engine, texts, Task.NER):
        yield [(entity.type, entity.text, entity.score) for entity in prediction.entities or ()]


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_and_scores_are_those_of_transformers(tmp_path: Path, family: str) -> None:
    """Each text has the same label, and all scores differ by less than 0.001; BERT reads 200 texts."""
    publish_family(tmp_path / "topics", family, "ForSequenceClassification", labels=["bad", "meh", "good"])
    texts = _choose_texts(family)
    theirs = build_pipeline("text-classification", tmp_path / "topics", top_k=None)(texts, batch_size=32)
    ours = [(found.labels or {})["topics"] for found in predictions(load(tmp_path / "topics"), texts, Task.CLASSIFY)]
    assert family != "bert" or len(texts) == 200
    for own, expected in zip(ours, theirs, strict=True):
        assert own.label == max(expected, key=lambda row: row["score"])["label"]
        assert own.scores == pytest.approx({row["label"]: row["score"] for row in expected}, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_entities_are_those_of_transformers_by_word(tmp_path: Path, family: str) -> None:
    """Type, characters and score of every entity, without punctuation at a word."""
    publish_family(tmp_path, family, "ForTokenClassification", labels=TAGS)
    texts = _choose_texts(family)
    found, expected = list(tag(load(tmp_path), texts)), tag_with_transformers(tmp_path, texts)
    assert [[entity[:2] for entity in own] for own in found] == [[entity[:2] for entity in own] for own in expected]
    scores, others = ([entity[2] for own in every for entity in own] for every in (found, expected))
    np.testing.assert_allclose(scores, others, atol=1e-3)
    assert {entity[0] for own in found for entity in own} <= {"PER", "LOC"}


@pytest.mark.parametrize(
    ("family", "architecture", "prefix"),
    [("gte", "NewForSequenceClassification", "new."), ("nomic_bert", "NomicBertForSequenceClassification", "bert.")],
)
def test_a_head_by_the_names_of_published_code_is_the_same(tmp_path: Path, family: str, architecture: str, prefix: str) -> None:
    """The published code of GTE and Nomic BERT has another prefix before the names of tensors than transformers has."""
    publish_family(tmp_path / "m", family, "ForSequenceClassification", labels=["bad", "good"])
    weights = tmp_path / "m" / "model.safetensors"
    expected = [(found.labels or {})["m"].scores for found in predictions(load(weights.parent), published.TEXTS, Task.CLASSIFY)]
    tensors = {re.sub(r"^(gte|nomic_bert)\.", prefix, name): tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, weights)
    rewrite(tmp_path / "m" / "config.json", architectures=[architecture], auto_map={"AutoModel": "modeling.Own"})
    found = [(found.labels or {})["m"].scores for found in predictions(load(tmp_path / "m"), published.TEXTS, Task.CLASSIFY)]
    assert found == expected


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c", "d"]])
def test_each_of_several_labels_has_a_probability_of_its_own(tmp_path: Path, labels: list[str]) -> None:
    """As transformers with `problem_type` `multi_label_classification`."""
    publish_family(tmp_path / "m", "bert", "ForSequenceClassification", labels=labels, problem_type="multi_label_classification")
    theirs = build_pipeline("text-classification", tmp_path / "m", top_k=None)(TEXTS[:20])
    for found, expected in zip(predictions(load(tmp_path / "m"), TEXTS[:20], Task.CLASSIFY), theirs, strict=True):
        own = (found.labels or {})["m"]
        assert own.scores == pytest.approx({row["label"]: row["score"] for row in expected}, abs=1e-3)
        assert own.labels == tuple(label for label in labels if own.scores[label] >= 0.5)


def test_two_labels_of_which_one_holds_have_two_logits(tmp_path: Path) -> None:
    """Both labels have a score, and the scores add up to 1."""
    publish_family(tmp_path / "b", "bert", "ForSequenceClassification", labels=["no", "yes"])
    theirs = build_pipeline("text-classification", tmp_path / "b", top_k=None)(TEXTS[:20])
    for found, expected in zip(predictions(load(tmp_path / "b"), TEXTS[:20], Task.CLASSIFY), theirs, strict=True):
        assert (found.labels or {})["b"].scores == pytest.approx({row["label"]: row["score"] for row in expected}, abs=1e-3)


@pytest.mark.parametrize(("labels", "problem"), [(["grade"], None), (["x", "y"], "regression")])
def test_numbers_are_given_as_they_are(tmp_path: Path, labels: list[str], problem: str | None) -> None:
    """A head for regression has no labels and no probabilities."""
    publish_family(tmp_path / "r", "bert", "ForSequenceClassification", labels=labels, problem_type=problem)
    pipeline = build_pipeline("text-classification", tmp_path / "r", top_k=None, function_to_apply="none")
    for found, expected in zip(predictions(load(tmp_path / "r"), TEXTS[:20], Task.CLASSIFY), pipeline(TEXTS[:20]), strict=True):
        assert found.labels == {}
        assert (found.values or {})["r"] == pytest.approx({row["label"]: row["score"] for row in expected}, abs=1e-3)


@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_every_backend_serves_a_published_head(tmp_path: Path, backend: BackendName) -> None:
    """A text in windows has labels of its windows' mean."""
    publish_family(tmp_path / "c", "bert", "ForSequenceClassification", labels=["bad", "good"])
    engine = load(tmp_path / "c", backend=backend)
    engine.warm_up()
    (found,) = predictions(engine, [" ".join(TEXTS)], Task.CLASSIFY)
    assert engine.tasks == read_tasks(str(tmp_path / "c")) == frozenset({Task.CLASSIFY})
    assert set((found.labels or {})["c"].scores) == {"bad", "good"}


def test_a_calibrated_copy_keeps_the_head(tmp_path: Path) -> None:
    """A copy with a manifest has the head of the published directory, and answers as the directory does."""
    publish_family(tmp_path / "c", "bert", "ForSequenceClassification", labels=["bad", "meh", "good"])
    loaded = checkpoint.load(str(tmp_path / "c"))
    checkpoint.save(
        tmp_path / "copy", name="copy", encoder_reference=str(tmp_path / "c"), heads=list(loaded.heads.heads.values()),
        training={}, card="", is_embedder=loaded.is_embedder,
    )  # fmt: skip
    found, copied = (
        [(p.labels or {})["c"] for p in predictions(load(tmp_path / n), TEXTS[:5], Task.CLASSIFY)] for n in ("c", "copy")
    )
    assert found == copied
    assert read_tasks(str(tmp_path / "copy")) == load(tmp_path / "copy").tasks == frozenset({Task.CLASSIFY})

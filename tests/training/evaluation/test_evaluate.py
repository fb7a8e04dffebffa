"""Evaluation: a model as it is served, on texts whose labels are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.model.conftest import MINILM
from worker.errors import BadModel, BadSettings
from worker.model.engine import Engine
from worker.records import Failure, Prediction, Stage, Task
from worker.settings import DEFAULT_MODEL
from worker.training.data.examples import DataSource, LabelledData, LabelledText, Span, TaggedData, TaggedText
from worker.training.data.labels import LabelMap
from worker.training.evaluation import report
from worker.training.evaluation.evaluate import (
    EvaluateOptions,
    evaluate,
    measure_accuracy,
    predictions,
    score_entities,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import TokenizedItem

pytestmark = pytest.mark.model


def labelled(name: str, *texts: tuple[str, str], is_multi_label: bool = False) -> LabelledData:
    """Return texts with their labels as a file has them."""
    labelled_texts = tuple(LabelledText(text, (label,)) for text, label in texts)
    return LabelledData(DataSource(Path("mine") / name), labelled_texts, is_multi_label=is_multi_label)


def tagged(name: str, *texts: TaggedText) -> TaggedData:
    """Return texts with their entities as a file has them."""
    return TaggedData(DataSource(Path("mine") / name), texts)


MOODS = labelled("moods", ("I love this film", "positive"), ("what an awful day", "negative"), ("so happy", "positive"))
NAMES = tagged("names", TaggedText("Obama met Merkel in Berlin", (Span("person", 0, 5), Span("thing", 6, 9), Span("LOC", 20, 26))))
OPTIONS = EvaluateOptions(
    model=DEFAULT_MODEL, device="cpu", backend="eager", types={"person": "PER"}, report=report.EvaluationOptions(num_draws=20)
)


def silent(_line: str) -> None:
    """Say nothing."""


def test_every_head_is_measured_on_its_files_and_the_vectors_on_all() -> None:
    """The shipped heads label these texts right, and their frozen encoder keeps all similarities."""
    told: list[str] = []
    found = evaluate(EvaluateOptions(**{**options(), "against": MINILM}), [MOODS], [NAMES], told.append)
    (labels,), (entities,) = found.labels, found.entities
    assert (labels.head, labels.title, labels.figures["accuracy"].value) == ("sentiment", "mine/moods", 1)
    assert (entities.head, entities.title, entities.num_texts) == ("ner", "mine/names", 1)
    assert [(group.name, group.num_gold) for group in entities.groups][:3] == [("all", 2), ("LOC", 1), ("PER", 1)]
    assert "mine/names: the head ner does not know thing, which are left out" in told
    assert found.vectors is not None
    assert (found.vectors.num_texts, found.vectors.against) == (4, "model@53aa51172d14")
    assert found.vectors.figures["Pearson"].value == pytest.approx(1)
    assert (found.model, found.runs_on) == (told[0].partition(" on ")[0], told[0].partition(" on ")[2])
    assert "vectors of 4 texts" in told[-1]


def test_rejected_answers_are_reported() -> None:
    """The line has the number of measured texts and of rejected texts."""
    told: list[str] = []
    rejected = DataSource(Path("mine") / "texts", num_rejected=3)
    evaluate(OPTIONS, [replace(MOODS, source=rejected)], [replace(NAMES, source=rejected)], told.append)
    assert told[1] == "mine/texts: 3 texts, 3 rejected by annotators and left out"
    assert told[2] == "mine/texts: 1 texts, 3 rejected by annotators and left out"


@pytest.mark.int8
def test_an_untouched_encoder_is_the_measure_of_8_bits() -> None:
    """The reference needs no calibration, and the correlation is above 0.99 but below 1."""
    found = evaluate(
        EvaluateOptions(**options() | {"against": MINILM, "backend": "auto", "dtype": "int8"}), [MOODS], [NAMES], silent
    )
    assert found.vectors is not None
    assert 0.99 < found.vectors.figures["Pearson"].value < 1


def options() -> dict[str, Any]:
    """Return the options, to be changed."""
    return {name: getattr(OPTIONS, name) for name in OPTIONS.__dataclass_fields__}


@pytest.mark.parametrize(
    ("changes", "texts", "entities", "reason"),
    [
        ({}, [labelled("f", ("a", "angry"))], [], r"f: no head has the labels angry \(sentiment: negative, positive\)"),
        ({}, [labelled("f")], [], r"f: no head has the labels \(none\)"),
        ({}, [labelled("f", ("a", "positive"), is_multi_label=True)], [], "f: texts with several labels cannot be evaluated"),
        ({"model": MINILM}, [MOODS], [], "the model has no such head"),
        ({"model": MINILM}, [], [NAMES], "the model has no head for entities"),
        ({}, [], [tagged("g")], "g: the file has no text"),
        ({"against": MINILM}, [labelled("f", *[("same", "positive")] * 5)], [], "at least three different texts"),
    ],
)
def test_texts_that_cannot_be_evaluated_are_refused(
    changes: dict[str, Any], texts: Sequence[LabelledData], entities: Sequence[TaggedData], reason: str
) -> None:
    """The error names the file and the remedy."""
    with pytest.raises(BadSettings, match=reason):
        evaluate(EvaluateOptions(**options() | changes), texts, entities, silent)


def test_a_text_on_which_the_model_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failing text is not left out of the figures without notice."""
    engine = Engine.load(MINILM, device="cpu", backend="eager")

    def broken(items: Sequence[TokenizedItem]) -> list[Prediction]:
        return [Prediction(np.zeros(1, dtype=np.float32)) for _ in items[:-1]] + [
            Prediction(failures=(Failure(Stage.INFER, "FloatingPointError", "not finite", Task.EMBED),))
        ]

    monkeypatch.setattr(engine, "infer", lambda items: broken(items) if len(items) < 64 else [Prediction()] * len(items))
    with pytest.raises(BadModel, match="fails on text 66: not finite"):
        list(predictions(engine, ["a"] * 66, Task.EMBED))


def test_the_trainers_scores_are_the_same_figures() -> None:
    """The trainer reports the figures of `evaluate` without intervals."""
    engine = Engine.load(DEFAULT_MODEL, device="cpu", backend="eager")
    found = evaluate(OPTIONS, [MOODS], [NAMES], silent)
    texts, true = [text.text for text in MOODS.texts], [text.labels[0] for text in MOODS.texts]
    assert measure_accuracy(engine, "sentiment", texts, true) == found.labels[0].figures["accuracy"].value
    scores = score_entities(engine, LabelMap({"person": "PER", "thing": None}).apply(NAMES).texts)
    assert {group.name: group.figures["f1"].value for group in found.entities[0].groups} == {
        name: score.f1 for name, score in scores.items()
    }

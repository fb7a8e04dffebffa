"""Labels are renamed, merged and dropped as a map says, and nothing is learned from what cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import BadSettings
from worker.training.data.examples import DataKind, DataSource, LabelledData, LabelledText, Span, TaggedData, TaggedText
from worker.training.data.labels import LabelMap, check_labels, check_map


def labelled(*labels: tuple[str, ...], name: str = "train.csv", is_multi_label: bool = False) -> LabelledData:
    """Return texts with these labels, one a line."""
    texts = tuple(LabelledText(f"text {n}", own_labels, n) for n, own_labels in enumerate(labels, start=2))
    return LabelledData(DataSource(Path(name)), texts, is_multi_label)


def tagged(*types: str, name: str = "train.conll") -> TaggedData:
    """Return one text with entities of these types."""
    spans = tuple(Span(kind, n, n + 1) for n, kind in enumerate(types))
    return TaggedData(DataSource(Path(name)), (TaggedText("x" * len(types), spans, 1),))


POLARITY = LabelMap({"positive": "pos", "very positive": "pos", "neutral": None})


def test_labels_are_renamed_merged_and_dropped() -> None:
    """A text is dropped with its only label, and other labels stay unchanged."""
    data = POLARITY.apply(labelled(("positive",), ("neutral",), ("very positive",), ("negative",)))
    assert [(text.text, text.labels) for text in data.texts] == [
        ("text 2", ("pos",)),
        ("text 4", ("pos",)),
        ("text 5", ("negative",)),
    ]
    assert data.labels == ("negative", "pos")


def test_of_several_labels_the_others_stay() -> None:
    """Merged labels count once, and a multi-label text may lose all labels."""
    data = POLARITY.apply(labelled(("positive", "very positive", "x"), ("neutral",), is_multi_label=True))
    assert [text.labels for text in data.texts] == [("pos", "x"), ()]
    assert data.kind is DataKind.MULTI_LABEL


def test_types_of_entities_are_mapped_alike() -> None:
    """With `drops_others` the entities of other types are removed."""
    data = LabelMap({"person": "PER"}, drops_others=True).apply(tagged("person", "product", "person"))
    assert data.texts == (TaggedText("xxx", (Span("PER", 0, 1), Span("PER", 2, 3))),)


def test_a_map_that_names_what_is_not_there_is_refused() -> None:
    """Each label of the map must occur in one of the files; the error lists the labels."""
    check_map(LabelMap({"a": "x", "b": None}), [labelled(("a",)), labelled(("b",))])
    with pytest.raises(BadSettings, match="the label map names 'postive', which no text has; the labels are negative, positive"):
        check_map(LabelMap({"postive": "pos"}), [labelled(("positive",), ("negative",))])


def test_the_labels_to_learn_are_those_of_the_training_data() -> None:
    """Labels are sorted unless an order is given."""
    train, test = labelled(("b",), ("a",)), labelled(("a",), name="test.csv")
    assert check_labels(train, test) == ("a", "b")
    assert check_labels(train, test, wanted=["b", "a"]) == ("b", "a")
    assert check_labels(tagged("PER")) == ("PER",)
    assert check_labels(labelled(("a",), (), is_multi_label=True)) == ("a",)


@pytest.mark.parametrize(
    ("train", "held_out", "wanted", "reason"),
    [
        (
            labelled(("a",), ("b",)),
            [labelled(("a",), ("c",), name="dev.csv")],
            None,
            "dev.csv:3: the label 'c' is none of the labels of the training data: a, b",
        ),
        (
            tagged("PER"),
            [tagged("PER", "LOC", name="dev.conll")],
            None,
            "dev.conll:1: the label 'LOC' is none of the labels of the training",
        ),
        (labelled(("a",), ("b",)), [], ["a"], "train.csv:3: the label 'b' is none of the labels to learn: a"),
        (labelled(("a",), ("b",)), [], ["a", "b", "c"], "train.csv: no training text has the label 'c'"),
        (labelled(("a",), ("a",)), [], None, "train.csv: nothing to learn: the labels are a"),
        (labelled(), [], None, "train.csv: nothing to learn: the labels are none"),
        (tagged(), [], None, "train.conll: nothing to learn: the entities are none"),
        (
            labelled(("a",), ("b",)),
            [tagged("PER", name="dev.conll")],
            None,
            "dev.conll: entities; the training data are binary",
        ),
        (
            labelled(("a",), ("b",)),
            [labelled(("a",), name="dev.csv", is_multi_label=True)],
            None,
            "dev.csv: multi-label; the training data are binary",
        ),
    ],
)
def test_labels_that_cannot_be_learned_are_one_line(
    train: LabelledData | TaggedData, held_out: list[LabelledData | TaggedData], wanted: list[str] | None, reason: str
) -> None:
    """The error names the file, and the line if there is one."""
    with pytest.raises(BadSettings) as caught:
        check_labels(train, *held_out, wanted=wanted)
    assert str(caught.value).startswith(reason)

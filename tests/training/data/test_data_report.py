"""The report on files: what is counted is what is there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import orjson
import pytest

from worker.training.data.examples import DataSource, LabelledData, LabelledText, Problem, Span, TaggedData, TaggedText
from worker.training.data.report import ClassCount, Overlap, build_report, percentiles


def labelled(name: str, *texts: tuple[str, str]) -> LabelledData:
    """Return texts with one label each."""
    return LabelledData(DataSource(Path(name)), tuple(LabelledText(text, (label,)) for text, label in texts))


FIRST = labelled("a.csv", ("good day", "pos"), ("Good day!", "neg"), ("good day", "pos"), ("bad", "neg"), (" ", "pos"))
SECOND = labelled("b.csv", ("bad", "neg"), ("GOOD DAY", "pos"), ("something else", "neg"))


def test_classes_lengths_and_duplicates_of_a_file() -> None:
    """The first of several copies is no duplicate; a copy with a minority label is a contradiction."""
    (found,) = build_report([FIRST]).files
    assert (found.path, found.kind, found.num_texts, found.num_empty) == ("a.csv", "binary", 5, 1)
    assert found.classes == {"pos": ClassCount(3, 0.6), "neg": ClassCount(2, 0.4)}
    assert (found.num_duplicates, found.num_near_duplicates, found.num_contradictions) == (1, 1, 1)
    assert found.lengths == {"p50": 2, "p90": 2, "p99": 2, "max": 2}
    assert found.characters == {"p50": 8, "p90": 9, "p99": 9, "max": 9}


def test_common_texts_of_two_files_are_counted() -> None:
    """The overlap counts exact and near duplicates of the first file in the second."""
    assert build_report([FIRST, SECOND]).overlaps == (Overlap("a.csv", "b.csv", 1, 1),)
    assert build_report([SECOND]).overlaps == ()


def test_entities_are_counted_by_type() -> None:
    """Texts without entities and problems of the file are reported, too."""
    texts = (
        TaggedText("Ada, Bob", (Span("PER", 0, 3), Span("PER", 5, 8))),
        TaggedText("Rome", (Span("LOC", 0, 4),)),
        TaggedText("ok", ()),
    )
    problem = Problem(Path("a.conll"), 7, "it is odd")
    (found,) = build_report([TaggedData(DataSource(Path("a.conll"), "CoNLL", (problem,), (problem,)), texts)]).files
    assert {label: class_.num for label, class_ in found.classes.items()} == {"PER": 2, "LOC": 1}
    assert found.num_unlabelled == 1
    assert found.broken == found.malformed == ("a.conll:7: it is odd",)


def test_lengths_may_be_counted_by_a_tokenizer() -> None:
    """The given function counts the length of a text."""
    found = build_report([SECOND], len, "tokens")
    assert found.unit == "tokens"
    assert found.files[0].lengths == found.files[0].characters


def test_a_report_becomes_json() -> None:
    assert orjson.loads(orjson.dumps(asdict(build_report([FIRST, SECOND]))))["overlaps"][0]["num_near_duplicates"] == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(1, 101), {"p50": 50, "p90": 90, "p99": 99, "max": 100}),
        ([7], {"p50": 7, "p90": 7, "p99": 7, "max": 7}),
        ([], {}),
    ],
)
def test_percentiles_are_values_that_are_there(values: range | list[int], expected: dict[str, int]) -> None:
    """A percentile is the value of the nearest rank."""
    assert percentiles(list(values)) == expected

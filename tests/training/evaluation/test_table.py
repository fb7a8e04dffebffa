"""The tables of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from tests.training.evaluation.reports import small_report
from worker.training.evaluation.table import shown

if TYPE_CHECKING:
    from worker.training.evaluation.report import EvaluationReport


def printed(report: EvaluationReport) -> str:
    """Return what a terminal shows."""
    console = Console(width=170, highlight=False)
    with console.capture() as capture:
        for it in shown(report):
            console.print(it, soft_wrap=True)
    return capture.get()


def test_every_part_is_shown() -> None:
    """Figures with their intervals, the matrix, the groups, the vectors, and what it ran on."""
    text = printed(small_report())
    for part in (
        "mood, x/y.jsonl: 4 texts",
        "AUROC",
        "ner, x/z.conll: 1 texts",
        "without handles",
        "against e@1",
        "0.988",
        "m@1 on cpu",
    ):
        assert part in text
    assert "[0.900, 1.000]" in text
    assert "seed 0" in text


def test_labels_and_texts_are_shown_as_they_are() -> None:
    """What looks like markup is none."""
    text = printed(small_report())
    for part in ("[red]b", "[bold][Rome]", "$yes$"):
        assert part in text


def test_a_temperature_is_shown_where_there_is_one() -> None:
    """Else nothing is said of it."""
    assert "temperature 1.500" in printed(small_report())
    assert "temperature" not in printed(small_report(temperature=1.0))

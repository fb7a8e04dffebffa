"""The tables of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from tests.training.evaluation.reports import small_report
from worker.training.evaluation.table import render

if TYPE_CHECKING:
    from worker.training.evaluation.report import EvaluationReport


def printed(report: EvaluationReport) -> str:
    """Return the output of a terminal."""
    console = Console(width=170, highlight=False)
    with console.capture() as capture:
        for table in render(report):
            console.print(table, soft_wrap=True)
    return capture.get()


def test_every_part_is_printed() -> None:
    """The tables have intervals; the last line names model, device and seed."""
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


def test_markup_in_labels_and_texts_is_printed_literally() -> None:
    """Brackets of texts set no style."""
    text = printed(small_report())
    for part in ("[red]b", "[bold][Rome]", "$yes$"):
        assert part in text


def test_a_temperature_of_1_is_not_printed() -> None:
    """Any other temperature is printed."""
    assert "temperature 1.500" in printed(small_report())
    assert "temperature" not in printed(small_report(temperature=1.0))

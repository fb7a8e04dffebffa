"""An evaluation as tables for a terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from worker.training.evaluation.bootstrap import BootstrapEstimate
    from worker.training.evaluation.mistakes import Mistake
    from worker.training.evaluation.report import EntityReport, EvaluationReport, LabelReport, VectorReport


def shown(report: EvaluationReport) -> Iterator[RenderableType]:
    """Yield the tables of a report and what stands between them."""
    for labels in report.labels:
        yield label_table(labels)
        yield confusion_table(labels)
        yield from (*_examples(labels.mistakes), Text())
    for entities in report.entities:
        yield entity_table(entities)
        yield from (*_examples(entities.mistakes), Text())
    if report.vectors:
        yield vector_table(report.vectors)
        yield Text()
    yield Text(
        f"{report.model} on {report.runs_on}; in brackets: 95 %, {report.options.num_draws} draws of as many texts "
        f"(seed {report.options.seed}); Wilson's interval, or none, where draws have no spread",
        style="dim",
    )


def label_table(it: LabelReport) -> Table:
    """Return the figures of a classification head."""
    table = _table(f"{it.head}, {it.title}: {it.num_texts} texts", it.temperature)
    _add_figures(table, it.figures)
    table.add_row("majority label", f"{it.majority:.3f}", "")
    return table


def confusion_table(it: LabelReport) -> Table:
    """Return the confusion matrix with the precision, recall and F1 of each label."""
    table = Table(title_justify="left")
    table.add_column("true ↓  said →", no_wrap=True)
    for name in (*it.labels, "recall", "precision", "F1"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    columns = [sum(column) for column in zip(*it.confusion, strict=True)]
    for place, row in enumerate(it.confusion):
        right, true, said = row[place], sum(row), columns[place]
        ratios = (right / max(1, true), right / max(1, said), 2 * right / max(1, true + said))
        cells = [Text(str(count), style="bold" if number == place else "") for number, count in enumerate(row)]
        table.add_row(Text(it.labels[place]), *cells, *(f"{ratio:.3f}" for ratio in ratios))
    return table


def entity_table(it: EntityReport) -> Table:
    """Return the figures of an entity head: of all, of each type, and counted otherwise."""
    caption = f"calibration of what is found: ECE {_figure(it.ece)} {_interval(it.ece)}{_divided(it.temperature)}"
    table = Table(
        title=Text(f"{it.head}, {it.title}: {it.num_texts} texts"),
        title_justify="left",
        caption=Text(caption),
        caption_justify="left",
    )
    table.add_column("entities", no_wrap=True)
    for column in ("precision", "", "recall", "", "F1", "", "there", "found"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in it.groups:
        figures = [text for name in ("precision", "recall", "f1") for text in _cells(group.figures[name])]
        style = "bold" if group.name == "all" else ""
        table.add_row(Text(group.name), *figures, f"{group.num_gold}", f"{group.num_found}", style=style)
    return table


def vector_table(it: VectorReport) -> Table:
    """Return what is left of the untouched encoder's similarities."""
    table = _table(f"vectors against {it.against}: {it.num_texts} texts, every pair", 1.0)
    _add_figures(table, it.figures)
    return table


def _table(title: str, temperature: float) -> Table:
    caption = Text(_divided(temperature).removeprefix("; ")) if temperature != 1 else None
    table = Table(title=Text(title), title_justify="left", caption=caption, caption_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    return table


def _divided(temperature: float) -> str:
    return f"; temperature {temperature:.3f}" if temperature != 1 else ""


def _add_figures(table: Table, figures: Mapping[str, BootstrapEstimate]) -> None:
    for name, it in figures.items():
        table.add_row(name, *_cells(it))


def _cells(it: BootstrapEstimate) -> tuple[str, str]:
    return _figure(it), _interval(it)


def _figure(it: BootstrapEstimate) -> str:
    return "-" if math.isnan(it.value) else f"{it.value:.3f}"


def _interval(it: BootstrapEstimate) -> str:
    return "" if math.isnan(it.low) else f"[{it.low:.3f}, {it.high:.3f}]"


def _examples(mistakes: Sequence[Mistake]) -> Iterator[Text]:
    """Yield a line for each mistake."""
    for it in mistakes:
        score = "    " if it.score is None else f"{it.score:.2f}"
        what = f"missed {it.true}" if it.said is None else f"{it.said}, is {it.true or 'nothing'}"
        yield Text.assemble((f"  {score} ", "dim"), (f"{what:24} ", "yellow"), it.text)

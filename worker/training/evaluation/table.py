"""Tables of an evaluation for a terminal."""

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
    from worker.training.evaluation.report import EntityReport, EvaluationReport, LabelReport


def render(report: EvaluationReport) -> Iterator[RenderableType]:
    """Yield the tables of a report and the lines between them."""
    for labels in report.labels:
        title = f"{labels.head}, {labels.title}: {labels.num_texts} texts"
        figures = _build_figure_table(title, labels.figures, caption=_describe_temperature(labels.temperature))
        figures.add_row("majority label", f"{labels.majority:.3f}", "")
        yield figures
        yield _build_confusion_table(labels)
        yield from (*_render_mistakes(labels.mistakes), Text())
    for entities in report.entities:
        yield _build_entity_table(entities)
        yield from (*_render_mistakes(entities.mistakes), Text())
    if report.vectors:
        title = f"vectors against {report.vectors.against}: {report.vectors.num_texts} texts, all pairs"
        yield _build_figure_table(title, report.vectors.figures)
        yield Text()
    yield Text(
        f"{report.model} on {report.runs_on}; in brackets: 95 % intervals of {report.options.num_draws} bootstrap draws "
        f"(seed {report.options.seed}); without spread, Wilson's interval or none",
        style="dim",
    )


def _build_figure_table(title: str, figures: Mapping[str, BootstrapEstimate], *, caption: str = "") -> Table:
    table = Table(title=Text(title), title_justify="left", caption=Text(caption) if caption else None, caption_justify="left")
    table.add_column("figure", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True)
    for name, figure in figures.items():
        table.add_row(name, *_format(figure))
    return table


def _build_confusion_table(report: LabelReport) -> Table:
    """Return the confusion matrix with recall, precision and F1 of each label."""
    table = Table(title_justify="left")
    table.add_column("true ↓  predicted →", no_wrap=True)
    for name in (*report.labels, "recall", "precision", "F1"):
        table.add_column(Text(name), justify="right", no_wrap=True)
    totals = [sum(column) for column in zip(*report.confusion, strict=True)]
    for index, row in enumerate(report.confusion):
        right, true, predicted = row[index], sum(row), totals[index]
        ratios = (right / max(1, true), right / max(1, predicted), 2 * right / max(1, true + predicted))
        cells = [Text(str(count), style="bold" if column == index else "") for column, count in enumerate(row)]
        table.add_row(Text(report.labels[index]), *cells, *(f"{ratio:.3f}" for ratio in ratios))
    return table


def _build_entity_table(report: EntityReport) -> Table:
    """Return the figures of each group of entities."""
    parts = [f"calibration of found entities: ECE {' '.join(_format(report.ece))}", _describe_temperature(report.temperature)]
    table = Table(
        title=Text(f"{report.head}, {report.title}: {report.num_texts} texts"),
        title_justify="left",
        caption=Text("; ".join(filter(None, parts))),
        caption_justify="left",
    )
    table.add_column("entities", no_wrap=True)
    for column in ("precision", "", "recall", "", "F1", "", "true", "found"):
        table.add_column(column, justify="right", no_wrap=True)
    for group in report.groups:
        figures = [cell for name in ("precision", "recall", "f1") for cell in _format(group.figures[name])]
        style = "bold" if group.name == "all" else ""
        table.add_row(Text(group.name), *figures, f"{group.num_gold}", f"{group.num_found}", style=style)
    return table


def _describe_temperature(temperature: float) -> str:
    return f"temperature {temperature:.3f}" if temperature != 1 else ""


def _format(figure: BootstrapEstimate) -> tuple[str, str]:
    """Return a figure and its interval."""
    value = "-" if math.isnan(figure.value) else f"{figure.value:.3f}"
    return value, "" if math.isnan(figure.low) else f"[{figure.low:.3f}, {figure.high:.3f}]"


def _render_mistakes(mistakes: Sequence[Mistake]) -> Iterator[Text]:
    for mistake in mistakes:
        score = "    " if mistake.score is None else f"{mistake.score:.2f}"
        kind = f"missed {mistake.true}" if mistake.predicted is None else f"{mistake.predicted}, true: {mistake.true or 'none'}"
        yield Text.assemble((f"  {score} ", "dim"), (f"{kind:24} ", "yellow"), mistake.text)

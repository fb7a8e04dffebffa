"""The results of a comparison as a table and as JSON: means over seeds with 95 % intervals. Pure."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence


_TASKS = {"large": "A", "small": "B"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """The scores of one cell."""

    contender: str
    share: float
    seed: int
    #: On held-out texts: the accuracy of the large task, and the entity F1 of the small task.
    large: float
    small: float
    #: Duration of training, without the computation of a frozen encoder's states.
    seconds: float
    steps: int

    @property
    def key(self) -> tuple[str, float, int]:
        """The name of the cell."""
        return self.contender, self.share, self.seed


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds, and half of its 95 % interval (Student's t); None for one seed."""

    mean: float
    half: float | None

    def __str__(self) -> str:
        """Return mean ± half of the interval."""
        return f"{self.mean:.3f}" if self.half is None else f"{self.mean:.3f} ± {self.half:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """A contender with one share of the small task's texts."""

    contender: str
    share: float
    num_seeds: int
    large: Figure
    small: Figure
    seconds: float


def build_figure(values: Sequence[float]) -> Figure:
    """Return the mean of some values with half of its interval."""
    if len(values) == 1:
        return Figure(values[0], None)
    error = statistics.stdev(values) / math.sqrt(len(values))
    return Figure(statistics.fmean(values), float(stats.t.ppf(0.975, len(values) - 1)) * error)


def build_rows(results: Sequence[CellResult]) -> list[SummaryRow]:
    """Return a row for each contender and share, in the order of the results."""
    cells: dict[tuple[str, float], list[CellResult]] = {}
    for result in results:
        cells.setdefault((result.contender, result.share), []).append(result)
    return [
        SummaryRow(
            contender=contender,
            share=share,
            num_seeds=len(own),
            large=build_figure([result.large for result in own]),
            small=build_figure([result.small for result in own]),
            seconds=statistics.fmean(result.seconds for result in own),
        )
        for (contender, share), own in cells.items()
    ]


def format_table(rows: Sequence[SummaryRow], introduction: str) -> str:
    """Return the comparison as Markdown, one line per contender; the best mean of a column is bold."""
    columns = [(share, task) for share in sorted({row.share for row in rows}) for task in _TASKS]
    figures: dict[tuple[str, float, str], Figure] = {
        (row.contender, row.share, task): getattr(row, task) for row in rows for task in _TASKS
    }
    best = {column: max(figure.mean for key, figure in figures.items() if key[1:] == column) for column in columns}
    titles = [f"{_TASKS[task]}, {share:.0%} of B" for share, task in columns]
    lines = [introduction, "", f"| strategy | {' | '.join(titles)} | seconds |", "| --- |" + " --- |" * (len(titles) + 1)]
    for contender in dict.fromkeys(row.contender for row in rows):
        own = [figures.get((contender, *column)) for column in columns]
        cells = [
            "" if figure is None else f"**{figure}**" if figure.mean == best[column] else str(figure)
            for figure, column in zip(own, columns, strict=True)
        ]
        seconds = statistics.fmean(row.seconds for row in rows if row.contender == contender)
        lines.append(f"| {contender} | {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def format_json(rows: Sequence[SummaryRow], plan: dict[str, Any]) -> str:
    """Return the plan and all rows."""
    return json.dumps({"plan": plan, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"

"""Measurements in the order in which they were taken, and the tables of their medians. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement of one candidate or mode."""

    name: str
    figures: dict[str, float]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: one figure of each row."""

    title: str
    figure: str
    digits: int = 0
    #: The median over the runs, their smallest and largest value, or the median over that of the table's reference.
    kind: Literal["median", "range", "ratio"] = "median"
    #: The unit of the figure's bars in the plot; without a unit, the figure is not drawn.
    drawn_as: str = ""


@dataclass(slots=True)
class Runs:
    """Measurements of several rows; each row has the median of its runs."""

    runs: list[Run] = field(default_factory=list)

    def add(self, name: str, **figures: float) -> None:
        """Append a measurement."""
        self.runs.append(Run(name, figures))

    @property
    def names(self) -> list[str]:
        """The rows in the order of their first measurement."""
        return list(dict.fromkeys(run.name for run in self.runs))

    def values(self, name: str, figure: str) -> list[float]:
        """Return the measured values of a figure, without NaN."""
        found = (run.figures.get(figure, math.nan) for run in self.runs if run.name == name)
        return [value for value in found if not math.isnan(value)]

    def median(self, name: str, figure: str) -> float:
        """Return the median of a figure; NaN without a value."""
        values = self.values(name, figure)
        return statistics.median(values) if values else math.nan

    def ratio(self, name: str, reference: str, figure: str) -> float:
        """Return the ratio of the medians of two rows; NaN where one is missing or the reference is 0."""
        return ratio(self.median(name, figure), self.median(reference, figure))

    def total(self, figure: str) -> int:
        """Return the sum of a count over all runs."""
        return int(sum(sum(self.values(name, figure)) for name in self.names))

    def as_json(self) -> dict[str, dict[str, list[float]]]:
        """Return the values of each figure by row."""
        figures = list(dict.fromkeys(figure for run in self.runs for figure in run.figures))
        return {name: {figure: self.values(name, figure) for figure in figures} for name in self.names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose first column names the row."""

    title: str
    runs: Runs
    columns: tuple[Column, ...]
    caption: str = ""
    #: The row that ratios divide by.
    reference: str = ""
    #: The row to highlight.
    highlighted: str = ""

    def cells(self) -> list[list[str]]:
        """Return the text of each row; an empty cell where nothing was measured."""
        return [[name, *(self._format(name, column) for column in self.columns)] for name in self.runs.names]

    def _format(self, name: str, column: Column) -> str:
        values = self.runs.values(name, column.figure)
        if column.kind == "range":
            return f"{min(values):,.{column.digits}f} to {max(values):,.{column.digits}f}" if values else ""
        if column.kind == "ratio":
            return format_number(self.runs.ratio(name, self.reference, column.figure), column.digits)
        return format_number(self.runs.median(name, column.figure), column.digits)


def ratio(value: float, reference: float) -> float:
    """Return a ratio; NaN where the reference is 0."""
    return value / reference if reference else math.nan


def format_number(value: float, digits: int = 0) -> str:
    """Return a figure for a table; an empty cell where nothing was measured."""
    return "" if math.isnan(value) else f"{value:,.{digits}f}"

"""All cells together: means with intervals over seeds, as a table, as JSON, and in a document. Pure."""

from __future__ import annotations

import json
import math
import re
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.training.comparison.costs import Costs
    from worker.training.comparison.journal import ComparisonResult

# Student's t, 97.5 %, by degrees of freedom; beyond these the normal's.
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
_NORMAL = 1.96
_MARKED = re.compile(r"(?<=<!-- comparison -->\n).*?(?=<!-- /comparison -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds, and half of its 95 % interval (Student's t); of one seed alone, NaN."""

    mean: float
    half: float

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.mean:.3f}" if math.isnan(self.half) else f"{self.mean:.3f} ± {self.half:.3f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """A contender on so much of the scarce task's texts."""

    contender: str
    share: float
    num_seeds: int
    rich: Figure
    scarce: Figure
    #: The mean of training.
    seconds: float


def format_figure(values: Sequence[float]) -> Figure:
    """Return the mean of some values, and half of its interval."""
    if len(values) == 1:
        return Figure(values[0], math.nan)
    half = _T.get(len(values) - 1, _NORMAL) * statistics.stdev(values) / math.sqrt(len(values))
    return Figure(statistics.fmean(values), half)


def build_rows(results: Sequence[ComparisonResult]) -> list[SummaryRow]:
    """Return a row for each contender and share, in the order in which they were first met."""
    keys = dict.fromkeys((it.contender, it.share) for it in results)
    return [_row([it for it in results if (it.contender, it.share) == key]) for key in keys]


def _row(results: Sequence[ComparisonResult]) -> SummaryRow:
    return SummaryRow(
        contender=results[0].contender,
        share=results[0].share,
        num_seeds=len(results),
        rich=format_figure([it.rich for it in results]),
        scarce=format_figure([it.scarce for it in results]),
        seconds=statistics.fmean(it.seconds for it in results),
    )


def table(rows: Sequence[SummaryRow], costs: Costs | None, about: str) -> str:
    """Return the comparison as Markdown: a line for each contender; the best of a column is bold."""
    shares = sorted({it.share for it in rows})
    heads = [f"{task}, {share:.0%} of B" for share in shares for task in ("A", "B")]
    lines = [about, "", f"| strategy | {' | '.join(heads)} | seconds |", "| --- |" + " --- |" * (len(heads) + 1)]
    best = {(share, name): max(getattr(it, name).mean for it in rows if it.share == share) for share in shares for name in _BOTH}
    for contender in dict.fromkeys(it.contender for it in rows):
        own = {it.share: it for it in rows if it.contender == contender}
        cells = [_cell(own.get(share), name, best[share, name]) for share in shares for name in _BOTH]
        seconds = statistics.fmean(it.seconds for it in own.values())
        lines.append(f"| {contender} | {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join([*lines, *_cost_lines(costs)]) + "\n"


_BOTH = ("rich", "scarce")


def _cell(row: SummaryRow | None, name: str, best: float) -> str:
    if row is None:
        return ""
    figure: Figure = getattr(row, name)
    return f"**{figure}**" if figure.mean == best else str(figure)


def _cost_lines(costs: Costs | None) -> Iterator[str]:
    if costs is not None:
        yield ""
        yield (
            f"Serving a thousand texts ({costs.runs_on}): one model with both heads {costs.one_model:.0f} ms, two models "
            f"{costs.two_models:.0f} ms, {costs.two_models / costs.one_model:.2f} times as much."
        )


def as_json(rows: Sequence[SummaryRow], costs: Costs | None, plan: dict[str, Any]) -> str:
    """Return all figures; what is not known is null."""
    values = {"plan": plan, "rows": [asdict(it) for it in rows], "costs": asdict(costs) if costs else None}
    return json.dumps(_known(values), indent=2) + "\n"


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(it) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [_known(it) for it in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def within(document: str, comparison: str, *, name: str) -> str:
    """Return a document with the comparison between its marks; raises `BadSettings` where it has none."""
    if not _MARKED.search(document):
        raise BadSettings(f"{name}: no `<!-- comparison -->` and `<!-- /comparison -->`, each on a line, to write between")
    return _MARKED.sub(lambda _match: comparison, document, count=1)

"""A run as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from worker.bench.engine.summary import summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.bench.engine.measures import CandidateResult, Entry, Panel

_MIB = 1 << 20
OTHERS = "busy with other programs"
_MUCH = 0.1
_COLUMNS = ("messages/s", "min to max", "vs ours", "tokens/s", "fill", "of roofline", "peak MiB", "cold s", "warm s")


def panel_table(panel: Panel) -> Table:
    """Return a table of everybody on one shape and one corpus; who has no numbers says why."""
    title = (
        f"{panel.shape}; {panel.corpus}: {panel.num_messages} texts, mean {panel.mean_tokens:.1f} tokens; {panel.num_rounds} rounds"
    )
    table = Table(title=title, caption=panel.caption, title_justify="left", caption_justify="left")
    table.add_column("contestant", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for entry in panel.entries:
        style = "bold green" if entry.is_chosen else ""
        name = entry.name + ("  ← auto" if entry.is_chosen else "")
        table.add_row(name, *(_figures(panel, entry) if entry.samples else ["-"] * len(_COLUMNS)), style=style)
    return table


def _figures(panel: Panel, entry: Entry) -> list[str]:
    rate, ratio = panel.messages_per_s(entry), panel.ratio(entry, panel.chosen)
    fraction = panel.roofline_fraction(entry)
    return [
        f"{rate.median:,.0f}",
        f"{rate.min:,.0f} to {rate.max:,.0f}",
        _or_dash(ratio, "{:.2f} x"),
        f"{entry.tokens_per_s.median:,.0f}",
        f"{entry.fill:.2f}",
        _or_dash(fraction, "{:.0%}"),
        _or_dash(entry.peak_bytes and entry.peak_bytes / _MIB, "{:,.0f}"),
        _or_dash(entry.cold_start_s, "{:.1f}"),
        _or_dash(entry.warm_start_s, "{:.1f}"),
    ]


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def notes(result: CandidateResult) -> Iterator[Text]:
    """Yield what stands below the tables: who is missing and why, exactness, heads, what was left out."""
    seen = set()
    for entry in (it for panel in result.panels for it in panel.entries if it.missing):
        if (entry.name, entry.missing) not in seen:
            seen.add((entry.name, entry.missing))
            yield Text(f"{entry.name}: {entry.missing}", style="yellow")
    for way, it in result.exactness.items():
        yield Text(
            f"{way} and fp32, {it['num_texts']:.0f} real texts, MiniLM: cosine at least {it['min_cosine_to_fp32']:.5f}, mean "
            f"{it['mean_cosine']:.5f}; the same label for {it['label_agreement']:.2%}; F1 of the entities {it['entity_f1']:.3f}"
        )
    if result.heads:
        yield Text(
            f"all heads take {result.heads['heads_share']:.1%} of a pass with all tasks (MiniLM, real texts); turning numbers "
            f"into labels and entities {result.heads['plain_values_share']:.1%} more"
        )
    for left in result.left_out:
        yield Text(f"left out: {left}", style="dim")


def summary_lines(result: CandidateResult) -> Iterator[Text]:
    """Yield the summary, one figure a line."""
    yield Text("summary (the way that auto chooses; GIST's shape, the mixture)", style="bold")
    for name, value in summary(result).items():
        if value is not None:
            yield Text(f"  {name:24}{_plain(value)}")


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if value >= 1000 else f"{value:.5g}"  # noqa: PLR2004  digits


def machine_line(machine: Mapping[str, Any]) -> Text:
    """Return what it ran on, in one line; in red where others took so much of it that the figures say little."""
    is_busy = (machine.get(OTHERS) or 0) > _MUCH
    shown = Text("; ".join(f"{name} {value}" for name, value in machine.items()), style="dim")
    warning = "\nother programs took much of this machine: some figures are of them, run it again alone"
    return shown.append(warning, style="bold red") if is_busy else shown

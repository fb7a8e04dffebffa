"""The report of the engine benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.bench.engine.plan import BASELINE, GIST_MODEL, name_backend
from worker.bench.engine.workload import MIXTURE
from worker.bench.frame import plot
from worker.bench.frame.report import Report, Table, format_number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from worker.bench.engine.measures import CorpusResults, EngineResults, Entry

_MIB = 1 << 20
_COLUMNS = (
    "candidate",
    "texts/s",
    "min to max",
    "vs auto",
    "tokens/s",
    "fill",
    "of roofline",
    "peak MiB",
    "cold start s",
    "warm start s",
)
_COLOURS = {"gist": plot.COLOURS[0], "baseline": plot.MUTED, "roofline": "#c3cad2"}


def build_report(results: EngineResults) -> Report:
    """Return a table for each model and corpus, and a plot of the first."""
    figures = summarize(results)
    ratio, name = figures["vs_best_baseline"], figures["best_baseline"]
    claim = (
        f"{figures['backend']}: {format_number(figures['messages_per_s'])} texts/s"
        if figures["backend"]
        else "no backend was measured"
    )
    return Report(
        title="Engine",
        claim=claim + (f", {ratio:.1f} times the fastest baseline ({name})" if ratio else ""),
        machine=results.machine,
        tables=[_build_table(panel) for panel in results.panels],
        notes=list(_describe(results)),
        summary=figures,
        details={
            "is_quick": results.is_quick,
            "left_out": results.left_out,
            "panels": [panel.as_json() for panel in results.panels],
            "exactness": results.exactness,
            "heads": results.heads,
            "seconds": results.seconds,
        },
        draw=lambda report, path: _draw(report, results, path),
    )


def summarize(results: EngineResults) -> dict[str, Any]:
    """Return the figures of the backend that `auto` chooses, on GIST's architecture and the mixture; None if not measured.

    `vs_baseline`, `vs_best_baseline`  throughput over that of unsorted transformers in fp32, and of the fastest baseline
    `roofline_fraction`                throughput over that of the bare matrix products of the same tokens
    `min_cosine_to_fp32`               the smallest cosine of a vector to that of transformers in fp32: MiniLM, real texts
    `fill`                             tokens per computed row
    `int8_vs_chosen`, `int8_…`         the same figures of 8-bit products
    `heads_share`                      share of the heads in a forward pass with all tasks: MiniLM, real texts
    """
    panel = next((panel for panel in results.panels if (panel.model, panel.corpus) == (GIST_MODEL, MIXTURE)), None)
    chosen = panel.chosen if panel else None
    backend = chosen.name.removeprefix(name_backend("")) if chosen else None
    best = panel.best_baseline if panel else None
    exact, int8 = results.exactness.get(backend or "", {}), results.exactness.get("int8", {})
    return {
        "backend": backend,
        "messages_per_s": panel.messages_per_s(chosen).median if panel and chosen else None,
        "tokens_per_s": chosen.tokens_per_s.median if chosen else None,
        "fill": chosen.fill if chosen else None,
        "vs_baseline": panel.ratio(chosen, panel.find(BASELINE)) if panel else None,
        "vs_best_baseline": panel.ratio(chosen, best) if panel else None,
        "best_baseline": best.name if best else None,
        "roofline_fraction": panel.roofline_fraction(chosen) if panel else None,
        "int8_vs_chosen": panel.ratio(panel.find(name_backend("int8")), chosen) if panel else None,
        **{name: exact.get(name) for name in ("min_cosine_to_fp32", "label_agreement", "entity_f1")},
        **{f"int8_{name}": int8.get(name) for name in ("min_cosine_to_fp32", "label_agreement", "entity_f1")},
        **{name: results.heads.get(name) for name in ("heads_share", "heads_and_values_share")},
        **{name: getattr(chosen, name, None) for name in ("cold_start_s", "warm_start_s", "peak_bytes")},
    }


def _build_table(panel: CorpusResults) -> Table:
    title = (
        f"{panel.model}; {panel.corpus}: {panel.num_messages} texts, mean {panel.mean_tokens:.1f} tokens; {panel.num_rounds} rounds"
    )
    rows = [
        [entry.name, *(_format_figures(panel, entry) if entry.samples else [""] * (len(_COLUMNS) - 1))] for entry in panel.entries
    ]
    chosen = next((number for number, entry in enumerate(panel.entries) if entry.is_chosen), None)
    return Table(title=title, columns=_COLUMNS, rows=rows, caption=panel.caption, highlighted=chosen)


def _format_figures(panel: CorpusResults, entry: Entry) -> list[str]:
    rate = panel.messages_per_s(entry)
    fraction = panel.roofline_fraction(entry)
    return [
        format_number(rate.median),
        f"{rate.min:,.0f} to {rate.max:,.0f}",
        format_number(panel.ratio(entry, panel.chosen), 2),
        format_number(entry.tokens_per_s.median),
        format_number(entry.fill, 2),
        format_number(fraction and 100 * fraction, unit=" %"),
        format_number(entry.peak_bytes and entry.peak_bytes / _MIB),
        format_number(entry.cold_start_s, 1),
        format_number(entry.warm_start_s, 1),
    ]


def _describe(results: EngineResults) -> Iterator[str]:
    """Yield missing candidates with the reason, exactness, the cost of the heads, and what the plan leaves out."""
    missing = {f"{entry.name}: {entry.missing}" for panel in results.panels for entry in panel.entries if entry.missing}
    yield from sorted(missing)
    for backend, figures in results.exactness.items():
        yield (
            f"{backend} against fp32, {figures['num_texts']:.0f} real texts, MiniLM: cosine at least "
            f"{figures['min_cosine_to_fp32']:.5f}, mean {figures['mean_cosine']:.5f}; label agreement "
            f"{figures['label_agreement']:.2%}; entity F1 {figures['entity_f1']:.3f}"
        )
    if results.heads:
        yield (
            f"all heads take {results.heads['heads_share']:.1%} of a forward pass with all tasks (MiniLM, real texts); decoding "
            f"their outputs takes {results.heads['plain_values_share']:.1%}"
        )
    for name in results.left_out:
        yield f"left out: {name}"
    yield f"took {results.seconds:.0f} s"


def _draw(report: Report, results: EngineResults, path: Path) -> None:
    """Draw a bar for each candidate of each panel, the fastest on top."""
    panels = [panel for panel in results.panels if panel.measured()]
    heights = [0.9 + 0.3 * len(panel.measured()) for panel in panels] or [0.9]
    figure, axes = plot.new_figure(report, height_inches=0.8 + sum(heights), num_rows=len(heights), height_ratios=heights)
    for panel, axis in zip(panels, axes[:, 0], strict=False):
        bars = []
        for entry in sorted(panel.measured(), key=lambda entry: -entry.tokens_per_s.median):
            rate = panel.messages_per_s(entry)
            name = f"{entry.name} (auto)" if entry.is_chosen else entry.name
            bars.append(plot.Bar(name=name, value=rate.median, low=rate.min, high=rate.max, colour=_COLOURS[entry.kind]))
        title = f"{panel.model}; {panel.corpus}, mean {panel.mean_tokens:.0f} tokens"
        plot.draw_bars(axis, bars, title=title, unit="texts/s: median, slowest and fastest round")
    plot.save(figure, path)

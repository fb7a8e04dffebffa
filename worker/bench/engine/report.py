"""The report of the engine benchmark."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from worker.bench.engine.rounds import BATCH_SIZES, Panel
from worker.bench.frame.machine import classify_processor
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Runs, Table, format_number, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.bench.engine.run import EngineResults

_RATE = "texts_per_s"
_COLUMNS = (
    Column("texts/s", _RATE, drawn_as="texts/s: median, slowest and fastest round"),
    Column("min to max", _RATE, kind="range"),
    Column("vs auto", _RATE, 2, kind="ratio"),
    Column("tokens/s", "tokens_per_s"),
    Column("of bare products", "of_products", 2),
    Column("fill", "fill", 2),
    Column("peak MiB", "peak_mib"),
    Column("start s", "start_s", 1),
)
_EXACTNESS = (
    Column("smallest cosine", "min_cosine", 5),
    Column("mean cosine", "mean_cosine", 5),
    Column("label agreement", "label_agreement", 4),
    Column("entity F1", "entity_f1", 3),
)
_CAPTION = (
    "Each baseline computes in the faster of fp32 and bf16. Of bare products: throughput over that of the faster bare products in "
    "the same arithmetic. Fill: tokens per computed row. "
)
_CAPTIONS = {
    True: "Tokenizing is included; GIST Stream tokenizes in a thread of its own, as the worker does.",
    False: "Tokenizing is excluded, except for SentenceTransformers, whose `encode` always tokenizes.",
}


def build_report(results: EngineResults) -> Report:
    """Return a table for each model, one of the exactness, and the rows of the front page."""
    tables = [_build_table(panel) for panel in results.panels]
    if results.exactness:
        exactness = Runs()
        for dtype, figures in results.exactness.items():
            exactness.add(dtype, **figures)
        num_texts = int(next(iter(results.exactness.values()))["num_texts"])
        tables.append(Table(title=f"Exactness against fp32, {num_texts} real texts, MiniLM", runs=exactness, columns=_EXACTNESS))
    figures = summarize(results)
    claim = f"{figures['engine']}: {format_number(figures[_RATE])} texts/s" if figures["engine"] else "no engine was measured"
    if figures["best_padded"]:
        claim += f", {figures['vs_best_padded']:.1f} times the fastest baseline ({figures['best_padded']})"
    return Report(
        title="Engine",
        claim=claim,
        machine=results.machine,
        tables=tables,
        notes=list(_describe(results)),
        summary=figures,
        front_page=_build_front_page(results),
    )


def summarize(results: EngineResults) -> dict[str, Any]:
    """Return the figures of the first model; NaN if not measured.

    `vs_first`, `vs_best_padded`     `auto` over the baseline as first written, and over the fastest one in floating point
    `int8_vs_best`                   `int8` over the fastest baseline, 8-bit baselines included
    `of_products`                    by engine: throughput over the bare products in the same arithmetic
    `processor_time_ratio`           processor time per text, a batch of 5 over a batch of 160
    `min_cosine`                     by number format: the smallest cosine of a vector to that of fp32
    """
    panel = results.panels[0] if results.panels else Panel.build_empty()
    auto, int8 = panel.find_engine("auto"), panel.find_engine("int8")
    first, padded, any_padded = (
        next(iter(panel.find(*kinds)), None) for kinds in (("first",), ("first", "padded"), ("first", "padded", "int8"))
    )
    few, many = (panel.processor_ms.get(str(size), math.nan) for size in BATCH_SIZES)
    return {
        "engine": auto.name if auto else None,
        _RATE: panel.runs.median(auto.name, _RATE) if auto else math.nan,
        "vs_first": panel.compare(auto, first),
        "vs_best_padded": panel.compare(auto, padded),
        "best_padded": padded.name if padded else None,
        "int8_vs_best": panel.compare(int8, any_padded),
        "of_products": {entry.name: panel.runs.median(entry.name, "of_products") for entry in panel.find("gist")},
        "processor_time_ratio": ratio(few, many),
        "min_cosine": {dtype: figures["min_cosine"] for dtype, figures in results.exactness.items()},
        "measured_by_auto": auto.about["texts_per_s"] if auto else {},
    }


def _build_table(panel: Panel) -> Table:
    auto = panel.find_engine("auto")
    for entry in panel.find("gist"):
        own = [other for other in panel.find("products") if other.arguments["way"].startswith(f"{entry.about['dtype']},")]
        if own:
            panel.runs.add(entry.name, of_products=panel.compare(entry, own[0]))
    corpus = panel.corpus
    return Table(
        title=f"{panel.model}; {corpus.num_texts} texts, mean {corpus.mean_tokens:.1f} tokens",
        runs=panel.runs,
        columns=_COLUMNS,
        caption=_CAPTION + _CAPTIONS[corpus.is_tokenizing],
        reference=auto.name if auto else "",
        highlighted=auto.name if auto else "",
    )


def _describe(results: EngineResults) -> Iterator[str]:
    """Yield the choice of `auto`, the processor time, missing candidates with the reason, and what the plan leaves out."""
    for panel in results.panels:
        if auto := panel.find_engine("auto"):
            yield f"{panel.model}: auto chose {auto.about['dtype']}; {auto.about['reason']}"
        if panel.processor_ms:
            few, many = (panel.processor_ms[str(size)] for size in BATCH_SIZES)
            yield (
                f"{panel.model}: processor time per text {few:.2f} ms in batches of {BATCH_SIZES[0]}, {many:.2f} ms in batches of "
                f"{BATCH_SIZES[1]}, ratio {few / many:.2f}"
            )
        yield from (f"not measured: {line}" for line in panel.missing)
    yield from (f"left out: {name}" for name in results.left_out)
    yield f"measured in {results.seconds:.0f} s"


def _build_front_page(results: EngineResults) -> tuple[str, list[tuple[str, float]]]:
    """Return the conditions and the rows of README's table: the first baseline, the best two tuned ones, and `auto`."""
    panel = results.panels[0] if results.panels else Panel.build_empty()
    auto, first = panel.find_engine("auto"), next(iter(panel.find("first")), None)
    if auto is None or first is None:
        return "", []
    rows = [(f"baseline: {first.name}", first.name), *((entry.name, entry.name) for entry in reversed(panel.find("padded")[:2]))]
    corpus = panel.corpus
    conditions = (
        f"Engine only, {panel.model}, {corpus.num_texts} texts with a mean of {corpus.mean_tokens:.0f} tokens, "
        f"{results.machine.get('cores', '?')} cores of {classify_processor(results.machine)}"
    )
    return conditions, [(name, panel.runs.median(row, _RATE)) for name, row in [*rows, (auto.name, auto.name)]]

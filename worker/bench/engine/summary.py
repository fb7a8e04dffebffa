"""The figures that one asks for first, from all that was measured. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.bench.engine.plan import FIRST_WRITTEN, GIST_SHAPE
from worker.bench.engine.workload import MIXTURE

if TYPE_CHECKING:
    from worker.bench.engine.measures import CandidateResult, Entry, Panel


def summary(result: CandidateResult) -> dict[str, float | str | None]:
    """Return the summary: of the way that `auto` chooses, on GIST's shape and the mixture; None where nothing was measured.

    `vs_first_written`, `vs_best_padded`  how many times faster than transformers as first written, than the best that pads
    `roofline_fraction`                   how near to the bare matrix products of the same tokens
    `min_cosine_to_fp32`                  the worst text's vector and that of transformers in fp32: MiniLM, real texts
    `fill`                                tokens of texts for each row that was computed
    `int8_vs_bf16`, `int8_min_cosine`     8-bit products beside it
    `heads_share`                         what the heads take of a pass with all tasks: MiniLM, real texts
    """
    panel = next((it for it in result.panels if (it.shape, it.corpus) == (GIST_SHAPE, MIXTURE)), None)
    chosen = panel.chosen if panel else None
    way = chosen.name.removeprefix("ours, ") if chosen else None
    best = best_padded(panel) if panel else None
    exact, int8 = result.exactness.get(way or "", {}), result.exactness.get("int8", {})
    return {
        "way": way,
        "messages_per_s": panel.messages_per_s(chosen).median if panel and chosen else None,
        "tokens_per_s": chosen.tokens_per_s.median if chosen else None,
        "fill": chosen.fill if chosen else None,
        "vs_first_written": panel.ratio(chosen, panel.find(FIRST_WRITTEN)) if panel else None,
        "vs_best_padded": panel.ratio(chosen, best) if panel else None,
        "best_padded": best.name if best else None,
        "roofline_fraction": panel.roofline_fraction(chosen) if panel else None,
        "min_cosine_to_fp32": exact.get("min_cosine_to_fp32"),
        "label_agreement": exact.get("label_agreement"),
        "entity_f1": exact.get("entity_f1"),
        "int8_vs_bf16": panel.ratio(panel.find("ours, int8"), chosen) if panel else None,
        "int8_min_cosine": int8.get("min_cosine_to_fp32"),
        "int8_label_agreement": int8.get("label_agreement"),
        "int8_entity_f1": int8.get("entity_f1"),
        "heads_share": result.heads.get("heads_share"),
        "heads_and_values_share": result.heads.get("heads_and_values_share"),
        "cold_start_s": chosen.cold_start_s if chosen else None,
        "warm_start_s": chosen.warm_start_s if chosen else None,
        "peak_bytes": chosen.peak_bytes if chosen else None,
    }


def best_padded(panel: Panel) -> Entry | None:
    """Return the fastest of those that pad."""
    return max(panel.measured("padded"), key=lambda it: it.tokens_per_s.median, default=None)


def as_json(result: CandidateResult) -> dict[str, Any]:
    """Return a whole run in plain values."""
    return {
        "summary": summary(result),
        "machine": dict(result.machine),
        "is_quick": result.is_quick,
        "left_out": list(result.left_out),
        "panels": [it.as_json() for it in result.panels],
        "exactness": {way: dict(it) for way, it in result.exactness.items()},
        "heads": dict(result.heads),
        "seconds": result.seconds,
    }

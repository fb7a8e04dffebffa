"""What each knob does to throughput, latency and memory: one is turned at a time, the others stay where they are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.bench.scale.results import ScaleResults
from worker.bench.scale.run import ScaleMode, measured
from worker.host import list_cores

if TYPE_CHECKING:
    from worker.bench.scale.run import ScalePlan
    from worker.bench.stream.workers import Place


@dataclass(frozen=True, slots=True)
class Knob:
    """One knob and the places to which it is turned; the usual one is not among them."""

    name: str
    values: tuple[float, ...]


NUM_PARTITIONS = 8
KNOBS = (
    Knob("partitions", (1, 2, 32)),
    Knob("replicas", (2,)),
    Knob("threads", (1,)),
    Knob("max_concurrent_batches", (1,)),
    Knob("max_batch_tokens", (1024, 2048, 16_384)),
    Knob("max_batch_delay_ms", (0, 20)),
    Knob("max_in_flight_tokens", (8_192, 262_144)),
)
_QUICK = {"replicas", "max_batch_tokens"}


def ways(delivery: str, *, is_quick: bool) -> list[ScaleMode]:
    """Return the usual way, each knob turned, and the usual way again: the difference of the two is the machine's own."""
    usual = ScaleMode(name="as it comes", delivery=delivery, num_replicas=1, num_partitions=NUM_PARTITIONS, told={})
    turned = [_turned(usual, knob.name, it) for knob in KNOBS if not is_quick or knob.name in _QUICK for it in knob.values]
    return [usual, *turned, usual]


def _turned(usual: ScaleMode, knob: str, value: float) -> ScaleMode:
    told: dict[str, object] = {}
    if knob == "max_in_flight_tokens":
        told = {knob: int(value), "resume_in_flight_tokens": int(value) // 2}
    elif knob == "max_batch_tokens":
        # As many batches in flight as usual.
        told = {knob: int(value), "max_in_flight_tokens": 16 * int(value), "resume_in_flight_tokens": 8 * int(value)}
    elif knob not in {"partitions", "replicas"}:
        told = {knob: value if knob == "max_batch_delay_ms" else int(value)}
    return ScaleMode(
        name=f"{knob} {value:g}",
        delivery=usual.delivery,
        num_replicas=int(value) if knob == "replicas" else usual.num_replicas,
        num_partitions=int(value) if knob == "partitions" else usual.num_partitions,
        told=told,
    )


async def run(plan: ScalePlan, place: Place, *, is_quick: bool) -> ScaleResults:
    """Turn one knob after another; whatever ends it, nothing goes on running."""
    results = ScaleResults(machine={"cores": len(list_cores()), "corpus_texts": len(place.texts)}, has_law=False)
    run_id = f"bench-knobs-{int(time.time())}"
    there = [it for delivery in plan.deliveries for it in ways(delivery, is_quick=is_quick)]
    for number, way in enumerate(there):
        place.say(f"{number + 1:2} of {len(there):2}    {way.name} …")
        results.points.append(await measured(plan, place, f"{run_id}-{number}", way))
        place.say(f"            {results.points[-1].messages_per_s:.0f} messages/s")
    return results


def markdown(results: ScaleResults) -> str:
    """Return the table for the documentation: each way beside the usual one, which is the mean of its two runs."""
    usual = [it for it in results.points if it.name == results.points[0].name]
    per_s = sum(it.messages_per_s for it in usual) / len(usual)
    lines = [
        "| what | messages/s | of the usual | p50, p99 ms at half of that | MiB of a replica |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {it.name} | {it.messages_per_s:,.0f} | {it.messages_per_s / per_s if per_s else 0:.2f} | "
        f"{it.latency.p50_ms:.0f}, {it.latency.p99_ms:.0f} | {it.peak_mib:,.0f} |"
        for it in results.points
    ]
    return "\n".join(lines) + "\n"

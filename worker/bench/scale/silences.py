"""The figures of a change of the consumer group: how long partitions are silent, and how many move. Pure."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worker.bench.stream.load_generator import summarize_latency

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.bench.stream.tally import Answer

# Outputs of a killed worker may arrive until this time after the kill.
_LATE_OUTPUTS_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of the group under load, or none; times in milliseconds since the epoch."""

    kind: str
    began_ms: float
    ended_ms: float
    #: The owner of each partition before and after the change.
    before: Mapping[int, str]
    after: Mapping[int, str]

    @property
    def moved(self) -> set[int]:
        """The partitions whose owner has changed."""
        return {partition for partition, owner in self.before.items() if self.after.get(partition) != owner}


def summarize_steps(answers: Sequence[Answer], steps: Sequence[Step]) -> dict[str, dict[str, float]]:
    """Return the figures of each step by its kind. If the first step is `quiet`, the others say how much longer their silences are.

    The silence of a partition is the longest time between two answers during the step. `stays_s` is the longest silence of the
    partitions that keep their owner, and `moves_s` of the others; NaN without such partitions.
    """
    figures: dict[str, dict[str, float]] = {}
    for step in steps:
        silences_s, moved = find_silences_s(answers, step.began_ms, step.ended_ms), step.moved
        found = {
            "stays_s": max((silence for partition, silence in silences_s.items() if partition not in moved), default=math.nan),
            "moves_s": max((silence for partition, silence in silences_s.items() if partition in moved), default=math.nan),
            "num_moved": len(moved),
            "takeover_s": find_takeover_s(answers, step.began_ms) if step.kind == "kill" else math.nan,
        }
        if step.kind == "rolling":
            # All partitions are silent in turn, also those that return to their owner.
            found |= {"stays_s": math.nan, "moves_s": max(silences_s.values(), default=math.nan), "num_moved": math.nan}
        quiet_s = figures.get("quiet", {}).get("stays_s", math.nan)
        found |= {"stays_beyond_s": found["stays_s"] - quiet_s, "moves_beyond_s": found["moves_s"] - quiet_s}
        waits_ms = [answer.wait_ms for answer in answers if step.began_ms <= answer.due_ms < step.ended_ms]
        figures[step.kind] = found | summarize_latency(waits_ms)
    return figures


def find_silences_s(answers: Sequence[Answer], began_ms: float, ended_ms: float) -> dict[int, float]:
    """Return the longest time between consecutive answers of each partition, in seconds, that overlaps with an interval."""
    done_ms: dict[int, list[int]] = defaultdict(list)
    for answer in answers:
        done_ms[answer.partition].append(answer.done_ms)
    silences_s: dict[int, float] = {}
    for partition, times in done_ms.items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(sorted(times)) if later > began_ms and earlier < ended_ms]
        if gaps:
            silences_s[partition] = max(gaps) / 1000
    return silences_s


def find_takeover_s(answers: Sequence[Answer], killed_ms: float) -> float:
    """Return the seconds from a kill until every partition is served again; infinity if one never is."""
    first_ms = {answer.partition: math.inf for answer in answers}
    for answer in answers:
        if answer.done_ms > killed_ms + _LATE_OUTPUTS_MS:
            first_ms[answer.partition] = min(first_ms[answer.partition], answer.done_ms)
    return (max(first_ms.values(), default=math.inf) - killed_ms) / 1000

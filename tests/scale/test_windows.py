"""What the windows of a scale down cost with each group protocol, on simulated days with bursts."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from tests.scale.test_scaled_object import CAPACITY, DOWN, SPEC, count_wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICK_S, _DAY_S = 15, 24 * 3600
# The rate of the query covers two minutes, and a scale up waits for half a minute.
_RATE_TICKS, _UP_TICKS = 8, 2
_NUM_PARTITIONS = 32
# The window and the period of a scale down that docs/operate/scaling.md names for the consumer protocol, in seconds.
_CONSUMER_WINDOW_S, _CONSUMER_PERIOD_S = 300, 60


def build_day(seed: int) -> list[float]:
    """Return the load of each tick, in replicas: a wave over the day, and bursts of one to ten minutes about every 20 minutes."""
    rng, num_ticks = random.Random(seed), _DAY_S // _TICK_S  # noqa: S311  a load, not a secret
    load = [3.5 + 2.5 * math.sin(2 * math.pi * tick / num_ticks) for tick in range(num_ticks)]
    first = 0
    while (first := first + 1 + int(rng.expovariate(1 / 1_200) / _TICK_S)) < num_ticks:
        length, height = int(rng.uniform(60, 600) / _TICK_S), rng.uniform(0.5, 3.0)
        for tick in range(first, min(num_ticks, first + length)):
            load[tick] += height
    return load


def simulate(load: Sequence[float], *, window_s: int, period_s: int) -> tuple[list[int], float]:
    """Return the size of the group at each step of one replica, and the mean number of replicas, as Kubernetes sets them."""
    wanted, sizes, total, replicas, last_down_s = list[int](), list[int](), 0, int(SPEC["minReplicaCount"]), -math.inf
    for tick in range(len(load)):
        recent = load[max(0, tick + 1 - _RATE_TICKS) : tick + 1]
        wanted.append(count_wanted(sum(recent) / len(recent) * CAPACITY, 0.0))
        up, down = min(wanted[-_UP_TICKS:]), max(wanted[-(window_s // _TICK_S) :])
        if up > replicas:
            sizes += range(replicas + 1, up + 1)
            replicas = up
        elif down < replicas and tick * _TICK_S - last_down_s >= period_s:
            replicas, last_down_s = replicas - 1, tick * _TICK_S
            sizes.append(replicas)
        total += replicas
    return sizes, total / len(load)


def test_shorter_windows_with_the_consumer_protocol_pause_less_and_need_fewer_replicas() -> None:
    """With `classic` each step pauses all partitions, and with `consumer` the share of one replica, for about the same time."""
    (policy,) = DOWN["policies"]
    load = build_day(1)
    sizes, mean = simulate(load, window_s=DOWN["stabilizationWindowSeconds"], period_s=policy["periodSeconds"])
    short_sizes, short_mean = simulate(load, window_s=_CONSUMER_WINDOW_S, period_s=_CONSUMER_PERIOD_S)
    num_paused = len(sizes) * _NUM_PARTITIONS
    num_paused_shortly = sum(_NUM_PARTITIONS / (size + 1) for size in short_sizes)
    assert num_paused_shortly < num_paused / 2
    assert short_mean < 0.9 * mean

"""A group that is scaled by its load, in simulated seconds: KEDA's queries, the HorizontalPodAutoscaler's rules, and the workers.

The rules are those of Kubernetes' documentation of the algorithm: the desired number of a metric, no change within the tolerance,
the highest recommendation of a stabilisation window, and at most so many pods in a period. Every change costs all workers a pause,
because each rebalance takes all partitions from everybody, and a new pod serves only after it has started.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_TOLERANCE = 0.1
_SYNC_S = 15
#: Time goes by in such steps; a load has a value for each.
STEP_S = 5


@dataclass(frozen=True, slots=True)
class World:
    """What is scaled."""

    num_partitions: int = 12
    #: Tokens a second of one worker.
    capacity_per_s: float = 20_000.0
    tokens_per_record: float = 25.0
    #: From the decision to the first record of a new pod, and the pause of everybody at each change.
    start_s: int = 30
    pause_s: int = 5


@dataclass(frozen=True, slots=True)
class Look:
    """What Prometheus shows."""

    num_replicas: int
    lag_tokens: float
    lag_records: float
    #: Over the last two minutes, of all workers together.
    tokens_per_s: float
    #: Of one worker in the time in which it had work.
    capacity_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledObject:
    """What the manifest says."""

    #: The number of replicas that a look asks for, with a fraction.
    wanted: Callable[[Look], float]
    min_replicas: int = 1
    max_replicas: int = 12
    polling_s: int = 15
    #: Up: at most so many pods, or this share of those that are there, whichever is more, in a period.
    up_pods: int = 4
    up_share: float = 1.0
    up_period_s: int = 60
    #: Down: the highest recommendation of the window, one pod in a period.
    down_window_s: int = 900
    down_pods: int = 1
    down_period_s: int = 300


@dataclass(slots=True)
class History:
    """What happened, step by step."""

    replicas: list[int] = field(default_factory=list)
    lag_tokens: list[float] = field(default_factory=list)

    @property
    def changes_s(self) -> list[int]:
        """The seconds at which the number of replicas changed."""
        return [n * STEP_S for n in range(1, len(self.replicas)) if self.replicas[n] != self.replicas[n - 1]]

    def step(self, at_s: int) -> int:
        """Return by how many the replicas changed at a second."""
        return self.replicas[at_s // STEP_S] - self.replicas[at_s // STEP_S - 1]

    @property
    def most_changes_in_an_hour(self) -> int:
        """Over every hour that ends with a change."""
        changes = self.changes_s
        return max((sum(end - 3600 < it <= end for it in changes) for end in changes), default=0)

    @property
    def turns(self) -> int:
        """How often a change went against the one before it within half an hour: a thrash."""
        changes = [(it, self.step(it)) for it in self.changes_s]
        return sum(b[0] - a[0] < 1800 and a[1] * b[1] < 0 for a, b in itertools.pairwise(changes))


def simulate(manifest: ScaledObject, load: NDArray[np.float64], world: World) -> History:
    """Let a group live through a load, in tokens a second for each step, spread evenly over the partitions."""
    history, backlog = History(), np.zeros(world.num_partitions)
    done: deque[float] = deque(maxlen=120 // STEP_S)
    recommended: deque[tuple[int, int]] = deque()
    replicas, serving, paused_until = manifest.min_replicas, manifest.min_replicas, 0
    joining: list[int] = []
    changed: deque[tuple[int, int]] = deque()
    look = Look(replicas, 0, 0, 0, world.capacity_per_s)
    for number, arriving in enumerate(load):
        now = number * STEP_S
        backlog += arriving * STEP_S / world.num_partitions
        if joining and joining[0] <= now:
            joining.pop(0)
            serving, paused_until = serving + 1, now + world.pause_s
        before = backlog.sum()
        if now >= paused_until:
            backlog -= np.minimum(backlog, _served(serving, world) * STEP_S)
        done.append(before - backlog.sum())
        if now % manifest.polling_s == 0:
            lag, per_s = float(backlog.sum()), sum(done) / len(done) / STEP_S
            look = Look(replicas, lag, lag / world.tokens_per_record, per_s, world.capacity_per_s)
        if now % _SYNC_S == 0:
            wanted = _decided(manifest, look, replicas, recommended, changed, now)
            if wanted > replicas:
                joining += [now + world.start_s] * (wanted - replicas)
            elif wanted < replicas:
                # Those that have not started yet go first.
                num_going = replicas - wanted
                num_unborn = min(num_going, len(joining))
                del joining[len(joining) - num_unborn :]
                serving -= num_going - num_unborn
                paused_until = now + world.pause_s if num_going > num_unborn else paused_until
            if wanted != replicas:
                changed.append((now, wanted - replicas))
            replicas = wanted
        history.replicas.append(replicas)
        history.lag_tokens.append(float(backlog.sum()))
    return history


def _served(serving: int, world: World) -> NDArray[np.float64]:
    """Return what a second brings to each partition: workers divide their time among their partitions, dealt out in turn."""
    owners = np.arange(world.num_partitions) % max(1, serving)
    share: NDArray[np.float64] = world.capacity_per_s / np.bincount(owners)[owners]
    return share if serving else np.zeros(world.num_partitions)


def _decided(
    manifest: ScaledObject,
    look: Look,
    replicas: int,
    recommended: deque[tuple[int, int]],
    changed: deque[tuple[int, int]],
    now: int,
) -> int:
    """Return the number of replicas that the autoscaler sets."""
    ratio = manifest.wanted(look) / replicas
    desired = replicas if abs(ratio - 1) <= _TOLERANCE else math.ceil(ratio * replicas - 1e-9)
    desired = min(manifest.max_replicas, max(manifest.min_replicas, desired))
    recommended.append((now, desired))
    while recommended[0][0] <= now - manifest.down_window_s:
        recommended.popleft()
    if desired > replicas:
        recent = sum(num for at, num in changed if at > now - manifest.up_period_s and num > 0)
        there = replicas - recent
        return min(desired, max(replicas, there + max(manifest.up_pods, math.ceil(there * manifest.up_share))))
    desired = min(replicas, max(it for _, it in recommended))
    recent = -sum(num for at, num in changed if at > now - manifest.down_period_s and num < 0)
    return max(desired, min(replicas, replicas + recent - manifest.down_pods))

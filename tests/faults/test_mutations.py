"""Would the laboratory notice? Small mistakes are made in a copy of the worker, and a named scenario must report each of them.

A patch that no longer applies fails its test: it is to be made anew for the source of today, or the mistake is no longer possible.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.frames import Action, Kind
from tests.faults.lab.lab import Lab
from tests.faults.lab.strange import until
from tests.faults.lab.workers import PROGRAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

    Scenario = Callable[[Lab, Sequence[str]], Awaitable[None]]

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(180)]
_ROOT = Path(__file__).parents[2]
_PATCHES = Path(__file__).parent / "mutations"


async def writes_vanish(lab: Lab, program: Sequence[str]) -> None:
    """No message reaches the brokers, commits do; then the worker dies."""
    worker = lab.worker("a", program)
    await worker.ready()
    await lab.produce(400)
    await lab.settled(60)
    rule = lab.proxies[0].arm(Kind.PRODUCE, Action.DROP, count=100_000)
    await lab.produce(400)
    # The client tries again after a tenth of a second, and commits leave twice in that time.
    await until(lambda: rule.num_applied > 15)
    await worker.kill()
    lab.proxies.heal()
    worker.launch()


async def a_commit_comes_late(lab: Lab, program: Sequence[str]) -> None:
    """A worker freezes while the end of a transaction is on its way; another takes over, and then it arrives."""
    zombie = lab.worker("zombie", program, transaction_timeout_ms=60_000)
    await zombie.ready()
    await lab.produce(400)
    await lab.settled(60)
    rule = lab.proxies[0].arm(Kind.END_TXN, Action.HOLD, seconds=60)
    await lab.produce(400)
    await until(lambda: not rule.left)
    zombie.suspend()
    heir = lab.worker("heir", program, transaction_timeout_ms=60_000)
    await until(lambda: heir.is_ready and heir.metric("gist_messages_published_total") > 0)
    lab.proxies.heal()
    await until(lambda: rule.num_applied > 0)
    zombie.resume()


async def texts_fail(lab: Lab, program: Sequence[str]) -> None:
    """The model raises, runs out of memory or gives NaN on every twentieth text."""
    worker = lab.worker("a", program)
    await worker.ready()
    lab.fault("poisoned_texts", every=lab.workload.poison_every)
    await lab.produce(1_000, rate=500)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A mistake, and by what it is found."""

    patch: str
    mode: Mode
    scenario: Scenario
    #: The violation that must be told.
    kind: str


MUTATIONS = [
    Mutation("commit_before_the_acknowledgements", "at_least_once", writes_vanish, "lost"),
    Mutation("a_send_that_nobody_awaits", "at_least_once", writes_vanish, "lost"),
    Mutation("a_transactional_id_for_each_worker", "exactly_once", a_commit_comes_late, "duplicated"),
    Mutation("a_dead_letter_that_is_dropped", "at_least_once", texts_fail, "lost"),
    Mutation("a_dead_letter_that_is_dropped", "exactly_once", texts_fail, "lost"),
    Mutation("a_prefix_with_a_hole", "exactly_once", texts_fail, "lost"),
]
SCENARIOS = sorted({(it.mode, it.scenario.__name__): it for it in MUTATIONS}.items())


def mutated(patch: str, directory: Path) -> tuple[str, ...]:
    """Return how to run the program with a copy of the worker in which a mistake was made."""
    for part in ("worker", "schemas"):
        shutil.copytree(_ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
    command = ["git", "apply", "--verbose", str(_PATCHES / f"{patch}.patch")]
    applied = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, f"{patch}.patch does not apply to the worker of today: make it anew\n{applied.stderr}"
    code = f"import sys; sys.path.insert(0, {str(directory)!r}); from tests.faults.lab.program import main; main()"
    return ("-c", code)


@pytest.mark.parametrize(
    ("mode", "mutation"), [(mode, it) for (mode, _), it in SCENARIOS], ids=[name for (_, name), _ in SCENARIOS]
)
async def test_the_worker_of_today_passes(proxied_broker: Cluster, mode: Mode, mutation: Mutation, seed: int) -> None:
    """Otherwise what a scenario reports would say nothing."""
    scenario = mutation.scenario
    async with Lab(mode=mode, seed=seed, cluster=proxied_broker, poison_every=20, scenario=scenario.__name__) as lab:
        await scenario(lab, PROGRAM)
        await lab.settled(60)
        await lab.verify()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[f"{it.patch}-{it.mode}" for it in MUTATIONS])
async def test_a_mistake_is_found(
    proxied_broker: Cluster, mutation: Mutation, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the violation that it must lead to, and not by any other failure."""
    # What is lost by a mistake of our making must not be counted as the worker's.
    monkeypatch.setenv("FAULTS_SUMMARY", str(tmp_path / "summary.jsonl"))
    program, name = mutated(mutation.patch, tmp_path), f"{mutation.scenario.__name__}-{mutation.patch}"
    async with Lab(mode=mutation.mode, seed=seed, cluster=proxied_broker, poison_every=20, scenario=name) as lab:
        await mutation.scenario(lab, program)
        await lab.settled(15)
        with pytest.raises(AssertionError, match=rf"(?m)^{mutation.kind}: "):
            await lab.verify()

"""Defects in a copy of the worker: a scenario must report each of them.

A defect replaces text of the source. A test fails if the text is gone: adapt the defect, or delete it if it is no longer possible.
"""

from __future__ import annotations

import shutil
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
class Defect:
    """A defect of the source, and the violation that it causes."""

    file: str
    #: Each text that is replaced, exactly once in the file, with its replacement.
    edits: tuple[tuple[str, str], ...]
    mode: Mode
    scenario: Scenario
    #: The violation that the verdict must report.
    kind: str


_DROPPED_DEAD_LETTER = ("worker/wire/encode.py", (("for failure in prediction.failures]", "for failure in ()]"),))
DEFECTS = {
    "commit before the acknowledgements": Defect(
        "worker/broker/delivery/at_least_once.py",
        (
            (
                "        try:\n            await self._send(partition, [message for _, message in messages])",
                (
                    "        if partition in self._published:\n            self._published[partition] = outcomes[-1].next_offset\n"
                    "        try:\n            await self._send(partition, [message for _, message in messages])"
                ),
            ),
        ),
        "at_least_once",
        writes_vanish,
        "lost",
    ),
    "send without acknowledgement": Defect(
        "worker/broker/delivery/batch_producer.py",
        (
            ("            await asyncio.gather(*waiting)\n", ""),
            ("            for future in waiting:\n                future.cancel()\n", "            pass\n"),
        ),
        "at_least_once",
        writes_vanish,
        "lost",
    ),
    "transactional id of each worker": Defect(
        "worker/broker/delivery/exactly_once.py",
        ((":{partition.topic}:{partition.index}", ":{__import__('os').getpid()}:{partition.index}"),),
        "exactly_once",
        a_commit_comes_late,
        "duplicated",
    ),
    "dropped dead letter, at least once": Defect(*_DROPPED_DEAD_LETTER, "at_least_once", texts_fail, "lost"),
    "dropped dead letter, exactly once": Defect(*_DROPPED_DEAD_LETTER, "exactly_once", texts_fail, "lost"),
    "published prefix with a gap": Defect(
        "worker/flow/ledger.py",
        (
            (
                "            if entry.outcome is None or holds(entry.outcome):\n",
                (
                    "            if entry.outcome is None and len(self._line) > 1:\n"
                    "                self._line.popitem(last=False)\n"
                    "                continue\n            if entry.outcome is None or holds(entry.outcome):\n"
                ),
            ),
        ),
        "exactly_once",
        texts_fail,
        "lost",
    ),
}
SCENARIOS = sorted({(defect.mode, defect.scenario.__name__): defect for defect in DEFECTS.values()}.items())


def insert(defect: Defect, text: str) -> str:
    """Return a source with the defect; fails if a text to replace is not there exactly once."""
    for old, new in defect.edits:
        assert text.count(old) == 1, f"{defect.file} has {text.count(old)} times this text, not once: adapt the defect\n{old}"
        text = text.replace(old, new)
    return text


def build_program(defect: Defect, directory: Path) -> tuple[str, ...]:
    """Return the command of a worker with the defect, in a copy of the source."""
    for part in ("worker", "schemas"):
        shutil.copytree(_ROOT / part, directory / part, ignore=shutil.ignore_patterns("__pycache__", "checkpoints"))
    file = directory / defect.file
    file.write_text(insert(defect, file.read_text()))
    code = f"import sys; sys.path.insert(0, {str(directory)!r}); from tests.faults.lab.program import main; main()"
    return ("-c", code)


@pytest.mark.parametrize(
    ("mode", "defect"), [(mode, defect) for (mode, _), defect in SCENARIOS], ids=[name for (_, name), _ in SCENARIOS]
)
async def test_the_worker_without_a_defect_passes(proxied_broker: Cluster, mode: Mode, defect: Defect, seed: int) -> None:
    """The scenarios report no violation of the unchanged worker."""
    scenario = defect.scenario
    async with Lab(
        mode=mode, seed=seed, cluster=proxied_broker, poison_every=20, scenario=scenario.__name__, protocol="classic"
    ) as lab:
        await scenario(lab, PROGRAM)
        await lab.settled(60)
        await lab.verify()


@pytest.mark.parametrize("name", DEFECTS)
async def test_a_defect_is_reported(
    proxied_broker: Cluster, name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict has the violation that the defect causes."""
    # Losses of a defective copy do not count in the summary.
    monkeypatch.setenv("FAULTS_SUMMARY", str(tmp_path / "summary.jsonl"))
    defect = DEFECTS[name]
    program, scenario = build_program(defect, tmp_path), f"{defect.scenario.__name__}-{name.replace(' ', '_')}"
    async with Lab(
        mode=defect.mode, seed=seed, cluster=proxied_broker, poison_every=20, scenario=scenario, protocol="classic"
    ) as lab:
        await defect.scenario(lab, program)
        await lab.settled(15)
        with pytest.raises(AssertionError, match=rf"(?m)^{defect.kind}: "):
            await lab.verify()

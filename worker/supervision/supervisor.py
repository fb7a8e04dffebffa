"""The life of several replicas: all started, each started again where that can help, all drained together.

The first signal lets all drain, in parallel; the second kills them. What a killed replica had in flight is done again by whoever
comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from worker.supervision.metrics_merge import merged
from worker.supervision.restart_policy import Restart, StopAll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.supervision.replica import Replica
    from worker.supervision.restart_policy import Policy
    from worker.supervision.telemetry import SupervisorTelemetry


class Supervisor:
    """Keeps replicas alive until told to stop; answers for all of them."""

    def __init__(self, replicas: Sequence[Replica], *, policy: Policy, telemetry: SupervisorTelemetry) -> None:
        """Supervise these; nothing runs before `run`."""
        self._replicas = replicas
        self._policy = policy
        self._telemetry = telemetry
        # Set once all are to leave: who waits to be started again waits no longer.
        self._should_stop = asyncio.Event()
        # The second signal, once it came: nobody is waited for in good order any more.
        self._killed_by: signal.Signals | None = None

    async def run(self) -> int:
        """Start all, keep them alive, and return the exit code once all have left; whatever ends it, none of them runs on."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for it in self._replicas:
                    tasks.create_task(self._keep(it))
        finally:
            for it in self._replicas:
                it.send(signal.SIGKILL)
                await it.wait()
        return 128 + self._killed_by if self._killed_by else self._policy.exit_code

    def on_signal(self, number: signal.Signals) -> None:
        """Let all drain; at the second signal kill them."""
        if self._policy.is_stopping and self._killed_by is None:
            self._killed_by = number
            self._telemetry.killing(number.name)
            self._send(signal.SIGKILL)
            return
        self._policy.stop()
        self._drain(number.name)

    async def why_not_live(self) -> str | None:
        """Return why some replica is stuck; None where none is. One that is being started again is not stuck."""
        return _first(await asyncio.gather(*(it.why_not_live() for it in self._replicas)))

    async def why_not_ready(self) -> str | None:
        """Return why not every replica serves; None where all do."""
        return _first(await asyncio.gather(*(it.why_not_ready() for it in self._replicas)))

    async def metrics(self) -> bytes:
        """Return the metrics of all replicas that answer, and our own."""
        answers = await asyncio.gather(*(it.metrics() for it in self._replicas))
        found = {it.number: text for it, text in zip(self._replicas, answers, strict=True) if text is not None}
        return merged(found, self._telemetry.registry.collect())

    async def _keep(self, replica: Replica) -> None:
        """Start it, and start it again, until all are to leave."""
        while not self._should_stop.is_set():
            self._telemetry.started(replica.number, await replica.start())
            if self._should_stop.is_set():
                # The signal came while the process was being made, and missed it.
                replica.send(signal.SIGTERM)
            code = await replica.wait()
            lived_s = replica.lived_s
            self._telemetry.ended(replica.number, code, lived_s=lived_s)
            decision = self._policy.ended(replica.number, code, lived_s=lived_s)
            if isinstance(decision, StopAll):
                self._drain(f"replica {replica.number} ended with {code}, and would again")
            elif isinstance(decision, Restart):
                self._telemetry.restarting(replica.number, code, pause_s=decision.pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._should_stop.wait(), decision.pause_s)

    def _drain(self, why: str) -> None:
        self._telemetry.stopping(why)
        self._should_stop.set()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for it in self._replicas:
            it.send(number)


def _first(reasons: Sequence[str | None]) -> str | None:
    return next((it for it in reasons if it), None)

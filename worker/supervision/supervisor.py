"""The life of several replicas: start, restart after a failure, and drain.

The first signal drains all replicas in parallel; the second kills them. The next owner of the partitions repeats the work that a
killed replica had in flight.
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
    """Keeps replicas running until a signal, and answers probes and metrics for all of them."""

    def __init__(self, replicas: Sequence[Replica], *, policy: Policy, telemetry: SupervisorTelemetry) -> None:
        """Supervise these replicas; none runs before `run`."""
        self._replicas = replicas
        self._policy = policy
        self._telemetry = telemetry
        # Set when all replicas are stopping: it ends the pauses before restarts.
        self._should_stop = asyncio.Event()
        # The second signal: the replicas are killed and not drained.
        self._killed_by: signal.Signals | None = None

    async def run(self) -> int:
        """Start all replicas, keep them running, and return the exit code after all have ended. After an error, too, none runs."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for replica in self._replicas:
                    tasks.create_task(self._keep(replica))
        finally:
            for replica in self._replicas:
                replica.send(signal.SIGKILL)
                await replica.wait()
        return 128 + self._killed_by if self._killed_by else self._policy.exit_code

    def on_signal(self, number: signal.Signals) -> None:
        """Drain all replicas; at the second signal, kill them."""
        if self._policy.is_stopping and self._killed_by is None:
            self._killed_by = number
            self._telemetry.killing(number.name)
            self._send(signal.SIGKILL)
            return
        self._policy.stop()
        self._drain(number.name)

    async def why_not_live(self) -> str | None:
        """Return the reason if a replica is stuck; a replica that is being restarted is not."""
        return _first(await asyncio.gather(*(replica.why_not_live() for replica in self._replicas)))

    async def why_not_ready(self) -> str | None:
        """Return the reason if a replica is not ready."""
        return _first(await asyncio.gather(*(replica.why_not_ready() for replica in self._replicas)))

    async def metrics(self) -> bytes:
        """Return the metrics of all replicas that answer, and of the supervisor."""
        answers = await asyncio.gather(*(replica.metrics() for replica in self._replicas))
        found = {replica.number: text for replica, text in zip(self._replicas, answers, strict=True) if text is not None}
        return merged(found, self._telemetry.registry.collect())

    async def _keep(self, replica: Replica) -> None:
        """Start a replica, and start it again after each end, until all replicas are stopping."""
        while not self._should_stop.is_set():
            self._telemetry.started(replica.number, await replica.start())
            if self._should_stop.is_set():
                # The signal came during the start of the process, which missed it.
                replica.send(signal.SIGTERM)
            code = await replica.wait()
            lived_s = replica.lived_s
            self._telemetry.ended(replica.number, code, lived_s=lived_s)
            decision = self._policy.ended(replica.number, code, lived_s=lived_s)
            if isinstance(decision, StopAll):
                self._drain(f"replica {replica.number} ended with {code}; a restart would fail in the same way")
            elif isinstance(decision, Restart):
                self._telemetry.restarting(replica.number, code, pause_s=decision.pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._should_stop.wait(), decision.pause_s)

    def _drain(self, why: str) -> None:
        self._telemetry.stopping(why)
        self._should_stop.set()
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for replica in self._replicas:
            replica.send(number)


def _first(reasons: Sequence[str | None]) -> str | None:
    return next((reason for reason in reasons if reason), None)

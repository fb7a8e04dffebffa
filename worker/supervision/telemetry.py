"""What the supervisor counts and logs of its replicas; what happens inside of them is in `worker.observability.metrics`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from worker.supervision.core_sharing import Share


class SupervisorTelemetry:
    """The instruments of one supervisor. Every method returns at once."""

    def __init__(self) -> None:
        """Declare everything, in a registry of its own."""
        self.registry = CollectorRegistry()
        self._log = structlog.get_logger("gist-stream")
        # Zero for longer than a start takes: that replica does not come up.
        self._up = Gauge("gist_replica_up", "Whether the process of a replica runs.", ["replica"], registry=self.registry)
        # Rising: the log says what it ended with.
        self._restarts = Counter(
            "gist_replica_restarts", "Times that a replica was started again, by what it ended with.", ["replica", "how"],
            registry=self.registry,
        )  # fmt: skip

    def supervising(self, *, http: str, shares: list[Share]) -> None:
        """Say what is supervised."""
        self._log.info("supervising", http=http, threads=[it.threads for it in shares], cores=[list(it.cores) for it in shares])

    def started(self, replica: int, pid: int) -> None:
        """Say that a replica's process runs."""
        self._up.labels(str(replica)).set(1)
        self._log.info("replica_started", replica=replica, pid=pid)

    def ended(self, replica: int, code: int, *, lived_s: float) -> None:
        """Say that a replica's process has ended, with an exit code or by the signal `-code`."""
        self._up.labels(str(replica)).set(0)
        self._log.info("replica_ended", replica=replica, how=_how(code), lived_s=round(lived_s, 3))

    def restarting(self, replica: int, code: int, *, pause_s: float) -> None:
        """Say that a replica is started again."""
        self._restarts.labels(str(replica), _how(code)).inc()
        self._log.warning("replica_restarting", replica=replica, how=_how(code), pause_s=pause_s)

    def stopping(self, why: str) -> None:
        """Say that all replicas are asked to drain."""
        self._log.info("draining_replicas", why=why)

    def killing(self, why: str) -> None:
        """Say that all replicas are killed."""
        self._log.warning("killing_replicas", why=why)


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else str(code)

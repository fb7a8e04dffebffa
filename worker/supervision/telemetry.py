"""Metrics and log events of the supervisor. Those of the replicas are in `worker.observability.metrics`."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.observability.structured_log import structlog

if TYPE_CHECKING:
    from worker.supervision.core_sharing import Share


class SupervisorTelemetry:
    """The metrics and log events of one supervisor. No method waits."""

    def __init__(self) -> None:
        """Declare all metrics, in a new registry."""
        self.registry = CollectorRegistry()
        self._log = structlog.get_logger("gist-stream")
        # Zero for longer than a start takes: the replica does not start.
        self._up = Gauge("gist_replica_up", "Whether the process of a replica runs.", ["replica"], registry=self.registry)
        # Rising: the log has the exit code.
        self._restarts = Counter(
            "gist_replica_restarts", "Restarts of a replica, by the exit code or the signal of its end.", ["replica", "how"],
            registry=self.registry,
        )  # fmt: skip

    def supervising(self, *, http: str, shares: list[Share]) -> None:
        """Log the replicas and their cores."""
        self._log.info(
            "supervising", http=http, threads=[share.threads for share in shares], cores=[list(share.cores) for share in shares]
        )

    def started(self, replica: int, pid: int) -> None:
        """Log the start of a replica."""
        self._up.labels(str(replica)).set(1)
        self._log.info("replica_started", replica=replica, pid=pid)

    def ended(self, replica: int, code: int, *, lived_s: float) -> None:
        """Log the end of a replica, with an exit code or by the signal `-code`; a signal is a warning."""
        self._up.labels(str(replica)).set(0)
        log = self._log.warning if code < 0 else self._log.info
        log("replica_ended", replica=replica, how=_describe_exit(code), lived_s=round(lived_s, 3))

    def restarting(self, replica: int, code: int, *, pause_s: float) -> None:
        """Log the restart of a replica."""
        self._restarts.labels(str(replica), _name_exit(code)).inc()
        self._log.warning("replica_restarting", replica=replica, how=_describe_exit(code), pause_s=pause_s)

    def stopping(self, why: str) -> None:
        """Log that all replicas drain."""
        self._log.info("draining_replicas", why=why)

    def killing(self, why: str) -> None:
        """Log that all replicas are killed."""
        self._log.warning("killing_replicas", why=why)


def _name_exit(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else str(code)


def _describe_exit(code: int) -> str:
    """Return the end of a process in words: `exit status 0` or `signal SIGKILL`."""
    return f"{'signal' if code < 0 else 'exit status'} {_name_exit(code)}"

"""The command line with a fake model: a worker without weights, which have no influence on logins and ACLs.

python -m tests.security.worker_without_model           runs a worker
python -m tests.security.worker_without_model --many    reads pairs of log file and settings from the standard input (JSON), runs a
                                                        worker for each, and writes their exit codes; modules are imported once
"""

from __future__ import annotations

import json
import os
import sys

from tests.fakes import FakeModel
from worker import cli
from worker.composition import model as engines


class _Model(FakeModel):
    description = "memory"
    because = "the test requires it"

    def warm_up(self) -> None:
        """Do nothing."""


def _many(workers: list[tuple[str, dict[str, str]]]) -> list[int]:
    """Run all workers at once and return their exit codes."""
    pids = [os.fork() or _run_worker(*worker) for worker in workers]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def _run_worker(log: str, settings: dict[str, str]) -> int:
    """Run a worker in this process; does not return."""
    with open(log, "wb") as file:  # noqa: PTH123  dup2 needs a descriptor
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ |= {f"GIST_{name.upper()}": value for name, value in {"http_port": "0", "log_format": "json"}.items()}
    os.environ |= {f"GIST_{name.upper()}": value for name, value in settings.items()}
    sys.argv[1:] = ["run"]
    try:
        cli.main()
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(0)


def main() -> None:
    """Run one worker or many."""
    engines.load_engine = lambda _settings: _Model()  # type: ignore[assignment, return-value]
    if sys.argv[1:] == ["--many"]:
        sys.stdout.write(json.dumps(_many(json.load(sys.stdin))))
        return
    sys.argv[1:] = ["run"]
    cli.main()


if __name__ == "__main__":
    main()

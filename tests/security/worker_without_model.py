"""The command line with a model in memory: everything of a worker but the weights, which have nothing to do with access.

python -m tests.security.worker_without_model           runs a worker
python -m tests.security.worker_without_model --many    runs a worker for each pair of log and settings in the JSON of the standard
                                                        input, and writes their exit codes: what all import is imported once
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
    because = "a test wants it so"

    def warm_up(self) -> None:
        """Be warm already."""


def _many(workers: list[tuple[str, dict[str, str]]]) -> list[int]:
    """Run all of them at once and return their exit codes."""
    pids = [os.fork() or _become(*worker) for worker in workers]
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def _become(log: str, settings: dict[str, str]) -> int:
    """Be a worker; does not return."""
    with open(log, "wb") as file:  # noqa: PTH123  a descriptor is wanted
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
    """Run one or many."""
    engines.load_engine = lambda _settings: _Model()  # type: ignore[assignment, return-value]
    if sys.argv[1:] == ["--many"]:
        sys.stdout.write(json.dumps(_many(json.load(sys.stdin))))
        return
    sys.argv[1:] = ["run"]
    cli.main()


if __name__ == "__main__":
    main()

"""Run one of several workers, as the supervisor starts them: `python -P -m worker.commands.run.replica NUMBER PARENT CORES`.

The worker is the same as that of `gist-stream run`. The worker is pinned to its cores, and ends when its supervisor ends or dies.
"""

from __future__ import annotations

import os
import sys

from worker.commands.output_encoding import escape_unencodable
from worker.errors import FatalError
from worker.host import die_with_parent


def main(number: int, parent: int, cores: tuple[int, ...]) -> None:
    """Run a worker with the settings of the environment. A `FatalError` becomes one line on standard error and an exit code."""
    die_with_parent(parent)
    escape_unencodable()
    # The libraries count the available cores at import.
    if cores:
        os.sched_setaffinity(0, cores)
    from worker.commands.run.process import run  # noqa: PLC0415  after the cores are chosen
    from worker.settings import read  # noqa: PLC0415  after the cores are chosen

    try:
        run(read(), replica=number)
    except FatalError as stop:
        sys.stderr.write(f"gist-stream: replica {number}: {stop}\n")
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), tuple(int(core) for core in sys.argv[3].split(",") if core))

"""One worker of several, as the supervisor starts it: `python -P -m worker.commands.run.replica NUMBER PARENT CORES`.

It is the same worker as that of `gist-stream run`, held to its cores, and ends with its supervisor, however that ends.
"""

from __future__ import annotations

import os
import sys

from worker.commands.output_encoding import escape_unencodable
from worker.errors import FatalError
from worker.host import die_with_parent


def main(number: int, parent: int, cores: tuple[int, ...]) -> None:
    """Run a worker by the settings of the environment; a `FatalError` is one line on standard error and an exit code."""
    die_with_parent(parent)
    escape_unencodable()
    # Before the libraries count what there is.
    if cores:
        os.sched_setaffinity(0, cores)
    from worker.commands.run.run import run  # noqa: PLC0415  after the cores are chosen
    from worker.settings import read  # noqa: PLC0415  the same

    try:
        run(read(), replica=number)
    except FatalError as stop:
        sys.stderr.write(f"gist-stream: replica {number}: {stop}\n")
        sys.exit(stop.exit_code)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), tuple(int(it) for it in sys.argv[3].split(",") if it))

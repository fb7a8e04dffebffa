"""The command line with a `load_engine` that never returns: a worker whose model does not finish loading."""

from __future__ import annotations

import sys
import threading

from worker import cli
from worker.composition import model as engines


def _load(_settings: object) -> None:
    sys.stdout.write("loading\n")
    sys.stdout.flush()
    threading.Event().wait()


def main() -> None:
    """Run the worker."""
    engines.load_engine = _load  # type: ignore[assignment]
    sys.argv[1:] = ["run"]
    cli.main()


if __name__ == "__main__":
    main()

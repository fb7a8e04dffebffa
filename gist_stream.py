"""Start the command line `gist-stream`, after a check that the modules in Python's path are those of this installation.

A `worker` or `schemas` in a folder of PYTHONPATH precedes ours, and its code would run in our name.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

_HOME = Path(__file__).resolve().parent


def main() -> None:
    """Run the command line; a foreign module in the place of one of ours is one line on standard error and exit code 2."""
    for name in ("worker", "schemas"):
        if (found := find_foreign(name)) is not None:
            sys.stderr.write(
                f"gist-stream: PYTHONPATH: another module named {name} precedes ours: {found}; "
                "take its folder out of PYTHONPATH, or install gist-stream in a virtual environment of its own\n"
            )
            sys.exit(2)
    from worker.commands.run.signals import leave_at_once  # noqa: PLC0415  after the check

    leave_at_once()
    from worker.cli import main as run  # noqa: PLC0415  the same

    run()


def find_foreign(name: str) -> Path | None:
    """Return the file of a top-level module where it is not the one beside this file; its code is not run."""
    spec = PathFinder.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return None if origin == _HOME / name / "__init__.py" else origin

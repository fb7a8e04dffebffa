"""Start the command line `gist-stream`, after a check that the modules in Python's path are those of this installation.

A module `worker` or `schemas` in a folder of PYTHONPATH precedes the installed one, and its code would run instead. An empty entry
of PYTHONPATH, as in `PYTHONPATH=:`, is the current folder, whose files must not run.
"""

from __future__ import annotations

# Python has imported both already.
import os
import sys


def drop_current_folder() -> None:
    """Remove the current folder from the path, here and for child processes, if PYTHONPATH has it without its full name."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        folder = os.getcwd()  # noqa: PTH109  pathlib is imported after this
    except FileNotFoundError:
        return
    kept = [entry for entry in entries if os.path.isabs(entry) or os.path.realpath(entry) != folder]  # noqa: PTH117  the same
    if len(kept) == len(entries):
        return
    if kept:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)
    else:
        os.environ.pop("PYTHONPATH", None)
    # In a checkout, the current folder may be the installation.
    if folder not in kept and folder != os.path.dirname(os.path.realpath(__file__)):  # noqa: PTH120  the same
        sys.path[:] = [entry for entry in sys.path if entry and os.path.realpath(entry) != folder]


drop_current_folder()

_INTERRUPTED = 130
try:
    # After the current folder is out of the path.
    import gc
    from importlib.machinery import PathFinder
    from pathlib import Path
except KeyboardInterrupt:
    sys.exit(_INTERRUPTED)

_HOME = Path(__file__).resolve().parent
_NEW_OBJECTS_PER_COLLECTION = 500_000


def main() -> None:
    """Run the command line; if another module hides one of this package, print one line and exit with 2."""
    for name in ("worker", "schemas"):
        if (found := find_foreign(name)) is not None:
            sys.stderr.write(
                f"gist-stream: PYTHONPATH: another module named {name} precedes ours: {found}; "
                "remove its folder from PYTHONPATH, or install gist-stream in a virtual environment of its own\n"
            )
            sys.exit(2)
    try:
        from worker.commands.run.signals import leave_at_once  # noqa: PLC0415  after the check

        leave_at_once()
        # The modules of a worker make a tenth of a second of collections, which find nothing.
        gc.set_threshold(_NEW_OBJECTS_PER_COLLECTION)
        from worker.cli import main as run  # noqa: PLC0415  the same
    except KeyboardInterrupt:
        # Ctrl-C while the modules are imported.
        sys.exit(_INTERRUPTED)
    run()


def find_foreign(name: str) -> Path | None:
    """Return the file of a top-level module that is not in the folder of this file, without running it; None if there is none."""
    spec = PathFinder.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    origin = Path(spec.origin).resolve()
    return None if origin == _HOME / name / "__init__.py" else origin

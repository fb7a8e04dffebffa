"""Print the part of requirements.lock that an image needs: what the worker imports, with the hashes of the lock.

python deploy/docker/requirements.py [--without-cuda] [--only] [--alone=PACKAGE] [PACKAGE...]

PACKAGEs come on top of the project's own dependencies; with --only, in their place. One that stands --alone comes without what it
asks for: of a package of weights only the files are read.

The lock holds what developers need, too: another Kafka, the benchmarks' contestants, the tools. The image carries none of them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_CUDA = re.compile(r"(nvidia-|cuda-|triton\b)")


def main(arguments: list[str]) -> int:
    """Print the requirements; return the exit code."""
    is_without_cuda = "--without-cuda" in arguments
    packages = [it for it in arguments if not it.startswith("--")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = [] if "--only" in arguments else project["dependencies"]
    roots = [_name(it) for it in [*own, *packages]]
    alone = {_name(it.removeprefix("--alone=")) for it in arguments if it.startswith("--alone=")} - {""}
    entries = entries_of((ROOT / "requirements.lock").read_text())
    if missing := {*roots, *alone} - set(entries):
        sys.stderr.write(f"requirements.lock does not hold {', '.join(sorted(missing))}\n")
        return 1
    wanted = closure(roots, entries) | alone
    for name in sorted(it for it in wanted if not (is_without_cuda and _CUDA.match(it))):
        sys.stdout.write(entries[name])
    return 0


def entries_of(lock: str) -> dict[str, str]:
    """Return the lock's entries, by package, each with its hashes and with the comment that says who asked for it.

    A package may stand there once for each version of Python that wants another: all of these are its entry.
    """
    entries: dict[str, str] = {}
    for entry in re.findall(r"^[a-z0-9].*\n(?:[ ].*\n)*", lock, re.MULTILINE):
        entries[_name(entry)] = entries.get(_name(entry), "") + entry
    return entries


def closure(roots: list[str], entries: dict[str, str]) -> set[str]:
    """Return `roots` and everything that was locked because of them."""
    wanted: set[str] = set()
    askers = {
        name: set(re.findall(r"^    # (?:via |  )([a-z0-9][a-z0-9.-]*)", entry, re.MULTILINE)) for name, entry in entries.items()
    }
    found = set(roots)
    while found:
        wanted |= found
        found = {name for name, its in askers.items() if its & found} - wanted
    return wanted


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match.group().lower().replace("_", "-") if match else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Print the entries of requirements.lock that the image needs: the packages that the worker imports, with their hashes.

python deploy/docker/requirements.py [--cpu] [--only] [--alone=PACKAGE] [PACKAGE...]

PACKAGEs are added to the dependencies of the project; with --only they replace them. --cpu leaves out torch and transformers, with
everything that only they need: a worker on a CPU imports neither. A package of --alone is printed without its dependencies: the
worker reads only the files of a package of weights.

The lock also has the packages of developers: another Kafka, the peers of the benchmarks, the tools. The image has none of them.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
# What only a GPU, training and the tests need.
_NOT_ON_CPUS = frozenset({"torch", "transformers"})


def main(arguments: list[str]) -> int:
    """Print the requirements; return the exit code."""
    packages = [argument for argument in arguments if not argument.startswith("--")]
    entries = read_entries((ROOT / "requirements.lock").read_text())
    alone = {_name(argument.removeprefix("--alone=")) for argument in arguments if argument.startswith("--alone=")} - {""}
    if missing := {*map(_name, packages), *alone} - set(entries):
        sys.stderr.write(f"requirements.lock does not have {', '.join(sorted(missing))}\n")
        return 1
    wanted = find_dependencies([_name(package) for package in packages], entries) | alone
    if "--only" not in arguments:
        wanted |= find_image_packages(entries, is_cpu="--cpu" in arguments)
    for name in sorted(wanted):
        sys.stdout.write(entries[name])
    return 0


def read_entries(lock: str) -> dict[str, str]:
    """Return the entries of the lock by package, each with its hashes and the comment that names the packages that require it.

    A package may have an entry for each version of Python. They are joined.
    """
    entries: dict[str, str] = {}
    for entry in re.findall(r"^[a-z0-9].*\n(?:[ ].*\n)*", lock, re.MULTILINE):
        entries[_name(entry)] = entries.get(_name(entry), "") + entry
    return entries


def find_image_packages(entries: dict[str, str], *, is_cpu: bool) -> set[str]:
    """Return all dependencies of the project; for a CPU without torch, transformers and what only they need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = {_name(requirement) for requirement in project["dependencies"]}
    return find_dependencies(sorted(roots - _NOT_ON_CPUS if is_cpu else roots), entries)


def find_dependencies(roots: list[str], entries: dict[str, str]) -> set[str]:
    """Return `roots` and all their direct and indirect dependencies."""
    wanted: set[str] = set()
    dependents = {
        name: set(re.findall(r"^    # (?:via |  )([a-z0-9][a-z0-9.-]*)", entry, re.MULTILINE)) for name, entry in entries.items()
    }
    found = set(roots)
    while found:
        wanted |= found
        found = {name for name, names in dependents.items() if names & found} - wanted
    return wanted


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match.group().lower().replace("_", "-") if match else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The process of a candidate: build an object, report ready, then answer questions until the input ends, one JSON object per line.

    in   {"role": "module:Class", "options": {...}}      out  {"ready": {...}} or {"absent": "reason"}
    in   {"ask": "measure", "first": 0, ...}             out  {"answer": {...}, "peak_bytes": 1}

Output of libraries goes to standard error; the parent keeps its end.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_KIB = 1024


class Role(Protocol):
    """A candidate, built from plain options; questions call its public methods, which return plain values."""

    def about(self) -> dict[str, Any]:
        """Run once, and return a description."""


def read_peak_bytes() -> int:
    """Return the peak resident memory of this process: the kernel's VmHWM, which starts at 0 with each program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * _KIB


def build(role: str, options: dict[str, Any]) -> Role:
    """Import the class of a role, `module:Class`, and build the candidate; a module imports only what it measures."""
    module, _, name = role.partition(":")
    built: Role = getattr(importlib.import_module(module), name)(**options)
    return built


def serve(read: Callable[[], str], write: Callable[[dict[str, Any]], None]) -> None:
    """Answer until the input ends."""
    from worker.errors import BadModel  # noqa: PLC0415  the start of a process is measured

    try:
        role = build(**json.loads(read()))
        about = role.about()
    except ModuleNotFoundError as error:
        write({"absent": f"{error.name} is not installed: pip install 'gist-stream[bench]'"})
        return
    except BadModel as error:
        write({"absent": str(error)})
        return
    write({"ready": about})
    while line := read():
        question = json.loads(line)
        answer = getattr(role, question.pop("ask"))(**question)
        write({"answer": answer, "peak_bytes": read_peak_bytes()})


def main() -> None:
    """Serve over the standard streams."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def write(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    serve(sys.stdin.readline, write)


if __name__ == "__main__":
    main()

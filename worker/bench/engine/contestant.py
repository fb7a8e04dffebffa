"""One contestant's process: load, say so, then answer questions, one JSON object a line, until the input ends.

    in   the job                                         out  {"ready": {...}} or {"absent": "why not here"}
    in   {"ask": "measure", "corpus", "first", "num"}    out  {"answer": {...}}

What libraries print goes to standard error, of which the parent keeps the end.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from worker.bench.engine.job import Job
from worker.bench.engine.workload import Corpus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Who there is, by name: the module and the class. Each imports what it measures, and nothing else.
ROLES: Mapping[str, tuple[str, str]] = {
    "ours": ("worker.bench.engine.ours", "Ours"),
    "transformers": ("worker.bench.engine.peers", "Transformers"),
    "sentence_transformers": ("worker.bench.engine.peers", "SentenceTransformers"),
    "openvino": ("worker.bench.engine.peers", "OpenVino"),
    "roofline": ("worker.bench.engine.roofline", "Roofline"),
    "judge": ("worker.bench.engine.judge", "Judge"),
}
_KIB = 1024


class Role(Protocol):
    """A contestant: built with its job and its corpora, then asked for what its public methods return, in plain values."""

    def about(self) -> dict[str, Any]:
        """Say what runs, after it has run once."""


def peak_bytes() -> int:
    """Return the most memory that this process has used.

    The kernel's own count starts anew with each program; `getrusage`'s, where there is no other, begins with the parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * _KIB


def build(job: Job) -> Role:
    """Load the contestant of a job."""
    module, name = ROLES[job.role]
    corpora = {name: Corpus.read(Path(path)) for name, path in job.corpora.items()}
    role: Role = getattr(importlib.import_module(module), name)(job, corpora)
    return role


def serve(read: Callable[[], str], write: Callable[[dict[str, Any]], None]) -> None:
    """Answer until the input ends."""
    # Not at the head of the module: the parent reads it too, and needs no torch.
    from worker.errors import BadModel  # noqa: PLC0415

    try:
        role = build(Job.of(json.loads(read())))
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
        write({"answer": answer, "peak_bytes": peak_bytes()})


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

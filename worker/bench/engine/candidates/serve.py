"""The process of a candidate: load the model, report ready, then answer questions until the input ends, one JSON object per line.

    in   the job                                         out  {"ready": {...}} or {"absent": "reason"}
    in   {"ask": "measure", "corpus", "first", "num"}    out  {"answer": {...}}

Output of libraries goes to standard error; the parent keeps its end.
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

#: Module and class of each role. A module imports only what it measures.
ROLES: Mapping[str, tuple[str, str]] = {
    "gist_engine": ("worker.bench.engine.candidates.gist_engine", "GistEngine"),
    "transformers": ("worker.bench.engine.candidates.baselines", "Transformers"),
    "sentence_transformers": ("worker.bench.engine.candidates.baselines", "SentenceTransformers"),
    "openvino": ("worker.bench.engine.candidates.baselines", "OpenVinoBaseline"),
    "roofline": ("worker.bench.engine.candidates.roofline", "Roofline"),
    "compare_outputs": ("worker.bench.engine.candidates.compare_outputs", "OutputComparison"),
}
_KIB = 1024


class Role(Protocol):
    """A candidate, built from job and corpora; questions call its public methods, which return plain values."""

    def about(self) -> dict[str, Any]:
        """Run one text, and return a description."""


def read_peak_bytes() -> int:
    """Return the peak resident memory of this process.

    The kernel's VmHWM starts at 0 with each program. Elsewhere `getrusage` counts, which begins with the parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * _KIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIB


def build(job: Job) -> Role:
    """Load the candidate of a job."""
    module, name = ROLES[job.role]
    corpora = {name: Corpus.read(Path(path)) for name, path in job.corpora.items()}
    role: Role = getattr(importlib.import_module(module), name)(job, corpora)
    return role


def serve(read: Callable[[], str], write: Callable[[dict[str, Any]], None]) -> None:
    """Answer until the input ends."""
    # The parent imports this module, too, and needs no torch.
    from worker.errors import BadModel  # noqa: PLC0415

    try:
        role = build(Job.from_json(json.loads(read())))
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

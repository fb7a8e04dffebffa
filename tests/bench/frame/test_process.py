"""The parent's side of a candidate: answers, failures, and the end of the process."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from worker.bench.frame.process import Candidate, CandidateFailed, CandidateUnavailable, build_thread_environment

ANSWERING = """
import json, os, sys
job = json.loads(sys.stdin.readline())
print(json.dumps({"ready": {"role": job["role"], "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}}), flush=True)
for line in sys.stdin:
    question = json.loads(line)
    if question["ask"] == "die":
        sys.exit("my last words")
    print(json.dumps({"answer": question, "peak_bytes": 7}), flush=True)
"""


def start(program: str, *, timeout_s: float = 60) -> Candidate:
    """Start a program as a candidate."""
    return Candidate("module:Class", {"model": "m"}, threads=3, timeout_s=timeout_s, command=[sys.executable, "-c", program])


def test_a_candidate_answers_questions() -> None:
    """The candidate receives job, threads and questions, and reports its peak memory."""
    with start(ANSWERING) as process:
        about, seconds = process.ready()
        assert (about["role"], about["threads"]) == ("module:Class", "3")
        assert seconds > 0
        assert process.ask("measure", corpus="c", num=3) == {"ask": "measure", "corpus": "c", "num": 3}
        assert process.peak_bytes == 7


def test_a_failure_has_exit_code_and_last_line() -> None:
    """Later questions raise the same error."""
    with start(ANSWERING) as process:
        process.ready()
        with pytest.raises(CandidateFailed, match="exit code 1: my last words"):
            process.ask("die")
        with pytest.raises(CandidateFailed, match="my last words"):
            process.ask("measure")


def test_an_unavailable_candidate_has_a_reason() -> None:
    """The error differs from that of a failure."""
    with (
        start("""print('{"absent": "no such thing"}', flush=True)""") as process,
        pytest.raises(CandidateUnavailable, match="no such thing"),
    ):
        process.ready()


def test_an_answer_has_a_time_limit() -> None:
    """The error names the limit."""
    with (
        start("import sys; sys.stdin.read()", timeout_s=0) as process,
        pytest.raises(CandidateFailed, match="no answer within 0 s"),
    ):
        process.ready()


def test_no_process_remains_after_ctrl_c() -> None:
    """The `with` block kills the process."""
    process = start(ANSWERING)
    about, _ = process.ready()
    with pytest.raises(KeyboardInterrupt), process:
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(about["pid"], 0)


async def test_cancelling_ends_the_process() -> None:
    """A question that has no answer yet does not keep the process."""
    with start("import sys; sys.stdin.read()") as process:
        asking = asyncio.create_task(process.ask_async("measure"))
        await asyncio.wait([asking], timeout=0.1)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert process._process.wait(10) != 0


def test_threads_are_fixed_for_every_library() -> None:
    """OpenMP, MKL and rayon have the same number."""
    environment = build_thread_environment(2)
    assert {environment[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL", "RAYON")} == {"2"}

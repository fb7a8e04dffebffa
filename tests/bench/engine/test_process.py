"""The parent's end: what a contestant says, that it died and with which words, that none is left behind."""

from __future__ import annotations

import os
import sys

import pytest

from worker.bench.engine.job import Batching, Job
from worker.bench.engine.process import Absent, Candidate, Died, count_threads

JOB = Job(role="ours", model="m", corpora={}, threads=3, batching=Batching(1, 2, 3, 4))
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


def contestant(program: str, *, timeout_s: float = 60) -> Candidate:
    """Start a program in the place of a contestant."""
    return Candidate(JOB, environment={}, timeout_s=timeout_s, command=[sys.executable, "-c", program])


def test_a_contestant_answers() -> None:
    """It gets its job, its threads and each question, and says how much memory it took."""
    with contestant(ANSWERING) as process:
        about, seconds = process.ready()
        assert (about["role"], about["threads"]) == ("ours", "3")
        assert seconds > 0
        assert process.ask("measure", corpus="c", num=3) == {"ask": "measure", "corpus": "c", "num": 3}
        assert process.peak_bytes == 7


def test_one_that_dies_has_last_words() -> None:
    """And an exit code; whoever asks later hears the same."""
    with contestant(ANSWERING) as process:
        process.ready()
        with pytest.raises(Died, match="died with 1: my last words"):
            process.ask("die")
        with pytest.raises(Died, match="my last words"):
            process.ask("measure")


def test_one_that_is_not_here_says_why() -> None:
    """It is told apart from one that died."""
    with (
        contestant("""print('{"absent": "no such thing"}', flush=True)""") as process,
        pytest.raises(Absent, match="no such thing"),
    ):
        process.ready()


def test_one_that_does_not_answer_is_not_waited_for() -> None:
    """Beyond its bound."""
    with contestant("import sys; sys.stdin.read()", timeout_s=0) as process, pytest.raises(Died, match="no answer within 0 s"):
        process.ready()


def test_none_is_left_behind() -> None:
    """Whatever ends the run, Ctrl-C too."""
    process = contestant(ANSWERING)
    about, _ = process.ready()
    with pytest.raises(KeyboardInterrupt), process:
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(about["pid"], 0)


def test_threads_are_fixed_for_every_library() -> None:
    """That could start some."""
    assert {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"} <= {
        name for name, it in count_threads(2).items() if it == "2"
    }

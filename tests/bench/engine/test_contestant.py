"""A contestant's process: it loads, says so, and answers until the input ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from worker.bench.engine import contestant
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job


class Fake:
    """A contestant that repeats what it is asked."""

    def about(self) -> dict[str, Any]:
        """Say something."""
        return {"about": "a fake"}

    def measure(self, **question: Any) -> dict[str, Any]:
        """Repeat."""
        return question


def served(job: Job, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a process would write."""
    lines = iter([json.dumps(job.as_json()), *map(json.dumps, questions)])
    written: list[dict[str, Any]] = []
    contestant.serve(lambda: next(lines, ""), written.append)
    return written


def test_it_answers_every_question(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the most memory that it has used."""
    monkeypatch.setattr(contestant, "build", lambda _: Fake())
    ready, answer = served(job("ours"), {"ask": "measure", "corpus": "c"})
    assert ready == {"ready": {"about": "a fake"}}
    assert answer["answer"] == {"corpus": "c"}
    assert answer["peak_bytes"] > 1 << 20


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("", name="openvino"), "openvino is not installed: pip install 'gist-stream[bench]'"),
        (BadModel("no compiler"), "no compiler"),
    ],
)
def test_one_that_cannot_run_here_says_why(
    error: Exception, reason: str, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends."""

    def refuse(_: Job) -> None:
        raise error

    monkeypatch.setattr(contestant, "build", refuse)
    assert served(job("ours"), {"ask": "measure"}) == [{"absent": reason}]


@pytest.mark.model
@pytest.mark.parametrize("role", contestant.ROLES)
def test_every_role_can_be_built(role: str, job: Callable[..., Job]) -> None:
    """And says what it is."""
    if role in ("openvino", "sentence_transformers"):
        pytest.importorskip(role)
    assert contestant.build(job(role)).about()["about"]

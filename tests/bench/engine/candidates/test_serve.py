"""The process of a candidate: it loads, reports ready, and answers until the input ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from worker.bench.engine.candidates import serve
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job


class Fake:
    """A candidate that returns each question."""

    def about(self) -> dict[str, Any]:
        """Return a description."""
        return {"about": "a fake"}

    def measure(self, **question: Any) -> dict[str, Any]:
        """Return the question."""
        return question


def serve_questions(job: Job, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the output of a process."""
    lines = iter([json.dumps(job.as_json()), *map(json.dumps, questions)])
    written: list[dict[str, Any]] = []
    serve.serve(lambda: next(lines, ""), written.append)
    return written


def test_every_question_has_an_answer(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has the peak memory of the process."""
    monkeypatch.setattr(serve, "build", lambda _: Fake())
    ready, answer = serve_questions(job("gist_engine"), {"ask": "measure", "corpus": "c"})
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
def test_an_unavailable_candidate_reports_the_reason(
    error: Exception, reason: str, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No question is answered."""

    def refuse(_: Job) -> None:
        raise error

    monkeypatch.setattr(serve, "build", refuse)
    assert serve_questions(job("gist_engine"), {"ask": "measure"}) == [{"absent": reason}]


@pytest.mark.model
@pytest.mark.parametrize("role", serve.ROLES)
def test_every_role_can_be_built(role: str, job: Callable[..., Job]) -> None:
    """Each role has a description."""
    if role in ("openvino", "sentence_transformers"):
        pytest.importorskip(role)
    assert serve.build(job(role)).about()["about"]

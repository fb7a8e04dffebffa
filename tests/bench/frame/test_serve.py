"""The process of a candidate: it loads, reports ready, and answers until the input ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.bench.frame import serve
from worker.errors import BadModel

JOB = {"role": f"{__name__}:Fake", "options": {}}


class Fake:
    """A candidate that returns each question."""

    def about(self) -> dict[str, Any]:
        """Return a description."""
        return {"about": "a fake"}

    def measure(self, **question: Any) -> dict[str, Any]:
        """Return the question."""
        return question


def serve_questions(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the output of a process."""
    lines = iter([json.dumps(JOB), *map(json.dumps, questions)])
    written: list[dict[str, Any]] = []
    serve.serve(lambda: next(lines, ""), written.append)
    return written


def test_every_question_has_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has the peak memory of the process."""
    monkeypatch.setattr(serve, "build", lambda **_: Fake())
    ready, answer = serve_questions({"ask": "measure", "corpus": "c"})
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
def test_an_unavailable_candidate_reports_the_reason(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No question is answered."""

    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(serve, "build", refuse)
    assert serve_questions({"ask": "measure"}) == [{"absent": reason}]


def test_a_role_is_built_from_its_options() -> None:
    """The role names the module and the class."""
    assert serve.build("worker.bench.frame.runs:Column", {"title": "a", "figure": "b"}) is not None

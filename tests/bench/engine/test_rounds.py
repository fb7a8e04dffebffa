"""The order of a run: candidates in turn, failures as notes, time limits."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from worker.bench.engine import plan as plans
from worker.bench.engine import rounds
from worker.bench.engine.job import Sample
from worker.bench.engine.workload import MIXTURE
from worker.bench.frame.process import CandidateFailed, CandidateUnavailable

if TYPE_CHECKING:
    from pathlib import Path


class Fake:
    """A candidate without a process; `log` holds the events of all fakes."""

    log: list[tuple[str, str]]
    dying = ""

    def __init__(self, role: str, options: dict[str, Any], **_: Any) -> None:
        """Log the start."""
        self.name = options.get("dtype", role.rpartition(":")[2])
        self.peak_bytes = 7 << 20
        self.log.append(("start", self.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> tuple[dict[str, Any], float]:
        """Return a description; OpenVINO is unavailable."""
        if self.name == "OpenVino":
            raise CandidateUnavailable("openvino is not installed")
        return {"dtype": "bf16"} | ({"ways": ["one", "two"]} if self.name == "Products" else {}), 1.5

    def ask(self, name: str, **question: Any) -> dict[str, Any]:
        """Return a sample of 0.01 s for each text."""
        self.log.append((name, self.name + question.get("way", "")))
        if self.name == self.dying:
            raise CandidateFailed("exit code -9: no output")
        if name == "processor_ms":
            return {str(size): 1.0 for size in question["sizes"]}
        num = question["num_messages"]
        return asdict(Sample(num_messages=num, num_tokens=10 * num, num_rows=20 * num, seconds=0.01 * num))

    def close(self) -> None:
        """Log the end."""
        self.log.append(("close", self.name))


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> rounds.Setup:
    """Return the setup of a whole run of fakes without a time limit."""
    monkeypatch.setattr(rounds, "Candidate", Fake)
    monkeypatch.setattr(Fake, "log", [], raising=False)
    monkeypatch.setattr(rounds, "_SETTLE_S", 0)
    return rounds.Setup(
        plan=plans.build_plan(is_quick=False, is_gpu=False),
        threads=2,
        device="cpu",
        batching={},
        models={plans.MINILM: ("reference", "published")},
        corpora={MIXTURE: rounds.CorpusFile(tmp_path, 300, is_tokenizing=False, mean_tokens=10.0)},
        environment={},
        until_s=float("inf"),
        say=lambda _: None,
    )


def test_candidates_answer_in_turn(setup: rounds.Setup) -> None:
    """Each round asks each candidate once; a process with several ways is several candidates, and no process remains."""
    panel = rounds.run_panel(setup, plans.MINILM, MIXTURE, num_after=0)
    asked = [name for what, name in Fake.log if what == "measure"]
    num_running = len(panel.entries)
    assert asked[:num_running] * (len(asked) // num_running) == asked
    assert {"Productsone", "Productstwo"} <= set(asked)
    rates = [panel.runs.values(name, "texts_per_s") for name in panel.runs.names]
    assert rates == [[pytest.approx(100)] * setup.plan.num_rounds] * num_running
    assert {name for what, name in Fake.log if what == "close"} == {name for what, name in Fake.log if what == "start"}
    assert panel.processor_ms == {"5": 1.0, "160": 1.0}
    assert panel.runs.median("GIST Stream, auto (bf16)", "peak_mib") == 7
    assert "transformers bf16, batches of 32, unsorted" in panel.runs.names


def test_a_missing_candidate_has_a_reason(setup: rounds.Setup) -> None:
    """The other candidates run."""
    panel = rounds.run_panel(setup, plans.MINILM, MIXTURE, num_after=0)
    assert panel.missing == ["OpenVINO, batches of 32, sorted: openvino is not installed"]


def test_a_failed_candidate_is_not_asked_again(setup: rounds.Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel has the reason, and the others continue."""
    monkeypatch.setattr(Fake, "dying", "int16")
    panel = rounds.run_panel(setup, plans.MINILM, MIXTURE, num_after=0)
    assert "GIST Stream, int16: exit code -9: no output" in panel.missing
    assert Fake.log.count(("measure", "int16")) == 1
    assert [entry.spec.options["dtype"] for entry in panel.find("gist")] == ["auto", "float32", "bfloat16", "int8"]


def test_rounds_end_in_time(setup: rounds.Setup) -> None:
    """After the time limit one round counts."""
    panel = rounds.run_panel(replace(setup, until_s=0.0), plans.MINILM, MIXTURE, num_after=0)
    assert {len(panel.runs.values(name, "texts_per_s")) for name in panel.runs.names} == {1}

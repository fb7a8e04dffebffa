"""The order of a run: candidates in turn, failures as notes, time limits."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from worker.bench.engine import plan as plans
from worker.bench.engine import rounds
from worker.bench.engine.job import Batching
from worker.bench.engine.measures import Sample
from worker.bench.engine.process import CandidateFailed, CandidateUnavailable
from worker.bench.engine.workload import MIXTURE, REAL

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.engine.job import Job


class Fake:
    """A candidate without a process; `log` holds the events of all fakes."""

    log: list[tuple[str, str]]
    dying = ""

    def __init__(self, job: Job, *, environment: dict[str, str], timeout_s: float) -> None:
        """Log the start."""
        self.name = job.backend if job.role == "gist_engine" else job.role
        self.timeout_s = timeout_s
        self.peak_bytes = 7
        self.environment = environment
        self.log.append(("start", self.name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ready(self) -> tuple[dict[str, Any], float]:
        """Return a description; OpenVINO is unavailable."""
        if self.name == "openvino":
            raise CandidateUnavailable("openvino is not installed")
        return {"about": "cpu bfloat16", "chosen": "compiled", "backends": ["eager", "compiled"]}, 1.5

    def ask(self, name: str, **question: Any) -> dict[str, Any]:
        """Return a sample of 0.01 s for each text."""
        self.log.append((name, self.name))
        if self.name == self.dying:
            raise CandidateFailed("exit code -9: no output")
        if name == "heads":
            return {"heads_share": 0.1}
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
    corpus = rounds.CorpusFile(tmp_path, 300, is_tokenizing=False, mean_tokens=10.0)
    return rounds.Setup(
        plan=plans.build_plan(is_quick=False, is_gpu=False),
        threads=2,
        device="cpu",
        batching=Batching(1, 2, 3, 4),
        models=dict.fromkeys((plans.GIST_MODEL, plans.MINILM), ("reference", "published")),
        corpora={MIXTURE: corpus, REAL: corpus},
        cache=tmp_path,
        started_s=float("inf"),
        say=lambda _: None,
    )


def test_candidates_answer_in_turn(setup: rounds.Setup) -> None:
    """Each round asks each candidate once; no process remains."""
    panels, heads = rounds.run_model(setup, plans.MINILM)
    asked = [name for what, name in Fake.log if what == "measure"]
    num_running = len(panels[0].measured())
    assert asked[:num_running] * (len(asked) // num_running) == asked
    assert [panel.corpus for panel in panels] == [MIXTURE, REAL]
    assert all(len(entry.samples) == setup.plan.num_rounds for entry in panels[0].measured())
    assert heads == {"heads_share": 0.1}
    closed = [name for what, name in Fake.log if what == "close"]
    assert sorted(set(closed)) == sorted({name for what, name in Fake.log if what == "start"})


def test_the_chosen_backend_has_the_cold_start_of_the_first_process(setup: rounds.Setup) -> None:
    """An unavailable candidate is listed with its reason."""
    panels, _ = rounds.run_model(setup, plans.GIST_MODEL)
    chosen = panels[0].chosen
    assert chosen is not None
    assert (chosen.name, chosen.cold_start_s, chosen.peak_bytes) == ("GIST Stream, compiled", 1.5, 7)
    absent = next(entry for entry in panels[0].entries if entry.missing)
    assert absent.missing == "unavailable: openvino is not installed"
    assert Fake.log[:2] == [("start", "auto"), ("close", "auto")]


def test_the_quick_run_keeps_the_chosen_backend(setup: rounds.Setup) -> None:
    """The first process is the only one of that backend, and int8 runs, too."""
    panels, _ = rounds.run_model(replace(setup, plan=plans.build_plan(is_quick=True, is_gpu=False)), plans.GIST_MODEL)
    assert [entry.name for entry in panels[0].measured("gist")] == ["GIST Stream, compiled", "GIST Stream, int8"]
    assert ("start", "eager") not in Fake.log


def test_a_failed_candidate_is_not_asked_again(setup: rounds.Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry has the reason, and the others continue."""
    monkeypatch.setattr(Fake, "dying", "eager")
    panels, _ = rounds.run_model(setup, plans.GIST_MODEL)
    failed = next(entry for entry in panels[0].entries if entry.name == "GIST Stream, eager")
    assert failed.missing == "failed: exit code -9: no output"
    assert Fake.log.count(("measure", "eager")) == 1
    assert panels[0].chosen is not None


def test_rounds_end_in_time(setup: rounds.Setup) -> None:
    """After the time limit one round counts."""
    panels, _ = rounds.run_model(replace(setup, started_s=0.0), plans.GIST_MODEL)
    assert {len(entry.samples) for entry in panels[0].measured()} == {1}

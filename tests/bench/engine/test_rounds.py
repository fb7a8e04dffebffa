"""The order of a run: everybody in turn, the dead are named, the clock is kept."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from worker.bench.engine import plan as plans
from worker.bench.engine import rounds
from worker.bench.engine.job import Batching
from worker.bench.engine.measures import Sample
from worker.bench.engine.process import Absent, Died
from worker.bench.engine.workload import MIXTURE, REAL

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.engine.job import Job


class Fake:
    """A contestant without a process; what happens to all of them stands in `log`."""

    log: list[tuple[str, str]]
    dying = ""

    def __init__(self, job: Job, *, environment: dict[str, str], timeout_s: float) -> None:
        """Note the start."""
        self.name = job.way if job.role == "ours" else job.role
        self.timeout_s = timeout_s
        self.peak_bytes = 7
        self.environment = environment
        self.log.append(("start", self.name))

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def ready(self) -> tuple[dict[str, Any], float]:
        """Be ready, but for OpenVINO."""
        if self.name == "openvino":
            raise Absent("openvino is not installed")
        return {"about": "cpu bfloat16", "chosen": "compiled", "ways": ["eager", "compiled"]}, 1.5

    def ask(self, name: str, **question: Any) -> dict[str, Any]:
        """Take a hundredth of a second for each message."""
        self.log.append((name, self.name))
        if self.name == self.dying:
            raise Died("died with -9: it said nothing")
        if name == "heads":
            return {"heads_share": 0.1}
        num = question["num_messages"]
        return asdict(Sample(num_messages=num, num_tokens=10 * num, num_rows=20 * num, seconds=0.01 * num))

    def close(self) -> None:
        """Note the end."""
        self.log.append(("close", self.name))


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> rounds.Setting:
    """Give a full run of fakes, with time enough."""
    monkeypatch.setattr(rounds, "Contestant", Fake)
    monkeypatch.setattr(Fake, "log", [], raising=False)
    monkeypatch.setattr(rounds, "_SETTLE_S", 0)
    written = rounds.Written(tmp_path, 300, is_tokenizing=False, mean_tokens=10.0)
    return rounds.Setting(
        plan=plans.full(),
        threads=2,
        device="cpu",
        batching=Batching(1, 2, 3, 4),
        models=dict.fromkeys((plans.GIST_SHAPE, plans.MINILM), ("ours", "published")),
        corpora={MIXTURE: written, REAL: written},
        cache=tmp_path,
        started_s=float("inf"),
        say=lambda _: None,
    )


def test_everybody_is_asked_in_turn(setting: rounds.Setting) -> None:
    """Round by round, one at a time; nobody is left at the end."""
    panels, heads = rounds.run_shape(setting, plans.MINILM)
    asked = [name for what, name in Fake.log if what == "measure"]
    num_running = len([it for it in panels[0].entries if it.samples])
    assert asked[:num_running] * (len(asked) // num_running) == asked
    assert [it.corpus for it in panels] == [MIXTURE, REAL]
    assert all(len(it.samples) == setting.plan.num_rounds for it in panels[0].measured())
    assert heads == {"heads_share": 0.1}
    closed = [name for what, name in Fake.log if what == "close"]
    assert sorted(set(closed)) == sorted({name for what, name in Fake.log if what == "start"})


def test_the_chosen_way_is_marked_and_its_first_start_was_the_cold_one(setting: rounds.Setting) -> None:
    """One that is not here is listed with its reason."""
    panels, _ = rounds.run_shape(setting, plans.GIST_SHAPE)
    chosen = panels[0].chosen
    assert chosen is not None
    assert (chosen.name, chosen.cold_start_s, chosen.peak_bytes) == ("ours, compiled", 1.5, 7)
    absent = next(it for it in panels[0].entries if it.missing)
    assert absent.missing == "not here: openvino is not installed"
    assert Fake.log[:2] == [("start", "auto"), ("close", "auto")]


def test_the_quick_run_keeps_the_way_that_auto_chooses(setting: rounds.Setting) -> None:
    """Its first start is the only one, and int8 runs beside it."""
    panels, _ = rounds.run_shape(replace(setting, plan=plans.quick()), plans.GIST_SHAPE)
    assert [it.name for it in panels[0].measured("ours")] == ["ours, compiled", "ours, int8"]
    assert ("start", "eager") not in Fake.log


def test_one_that_dies_is_named_and_asked_no_more(setting: rounds.Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on."""
    monkeypatch.setattr(Fake, "dying", "eager")
    panels, _ = rounds.run_shape(setting, plans.GIST_SHAPE)
    dead = next(it for it in panels[0].entries if it.name == "ours, eager")
    assert dead.missing == "failed: died with -9: it said nothing"
    assert Fake.log.count(("measure", "eager")) == 1
    assert panels[0].chosen is not None


def test_rounds_end_in_time(setting: rounds.Setting) -> None:
    """Where the time is short, one round counts."""
    panels, _ = rounds.run_shape(replace(setting, started_s=0.0), plans.GIST_SHAPE)
    assert {len(it.samples) for it in panels[0].measured()} == {1}

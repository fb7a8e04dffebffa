"""The benchmarks with a broker: their plans, outputs and exit codes."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.bench.backfill.test_backfill_results import build_results as build_backfill
from tests.bench.delivery.test_delivery_results import build_results as build_delivery
from tests.bench.scale.test_scale_results import build_results as build_scale
from tests.bench.stream.test_stream_results import build_results as build_stream
from worker.bench.delivery.results import DeliveryMode
from worker.cli import app
from worker.commands.bench import with_broker
from worker.commands.bench.with_broker import check_packages
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULTS: dict[str, Callable[[], Any]] = {
    "stream": build_stream,
    "delivery": build_delivery,
    "backfill": build_backfill,
    "scale": build_scale,
}


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[Any]]]:
    """Return a function that runs a benchmark with given results, and returns the outcome and the plans."""
    monkeypatch.setattr(with_broker, "run_with_kafka", lambda _console, measure: asyncio.run(measure(None)))

    def invoke_with(name: str, *arguments: str, results: Any = None) -> tuple[Any, list[Any]]:
        plans = []

        async def run(plan: Any, _context: object) -> Any:
            plans.append(plan)
            return results or RESULTS[name]()

        monkeypatch.setattr(importlib.import_module(f"worker.bench.{name}.run"), "run", run)
        return CliRunner().invoke(app, ["bench", name, *arguments]), plans

    return invoke_with


@pytest.mark.parametrize("name", RESULTS)
def test_tables_json_and_plot_are_written(name: str, invoke: Callable[..., tuple[Any, list[Any]]], tmp_path: Path) -> None:
    """Tables go to standard output, `--output` writes JSON, and `--plot` writes a PNG."""
    files = tmp_path / "results.json", tmp_path / "plot.png"
    outcome, _ = invoke(name, "--output", str(files[0]), "--plot", str(files[1]))
    assert outcome.exit_code == 0, outcome.output
    assert "lost 0" in outcome.stdout
    assert "summary" in json.loads(files[0].read_bytes())
    assert files[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", RESULTS)
def test_markdown_names_commit_and_processor(name: str, invoke: Callable[..., tuple[Any, list[Any]]]) -> None:
    """`--markdown` prints a section with the conditions of the measurement and the tables."""
    shown = invoke(name, "--markdown")[0].stdout
    assert shown.startswith("### ")
    assert "Commit `" in shown
    assert "| --: |" in shown
    json.loads(invoke(name, "--json")[0].stdout)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {"num_backlog": 12_000, "num_rounds": 3, "limit_s": 0.0}),
        (("--quick",), {"num_backlog": 4_000, "num_rounds": 1, "limit_s": 95.0}),
    ],
)
def test_a_quick_delivery_benchmark_has_a_time_limit(
    arguments: tuple[str, ...], expected: dict[str, float], invoke: Callable[..., tuple[Any, list[Any]]]
) -> None:
    """The quick plan measures less."""
    plan = invoke("delivery", *arguments)[1][0]
    assert plan.main == DeliveryMode(8, 100)
    assert {name: getattr(plan, name) for name in expected} == expected


def test_a_quick_scale_benchmark_measures_one_delivery(invoke: Callable[..., tuple[Any, list[Any]]]) -> None:
    """The quick plan has one delivery, one number of partitions and one change of the group."""
    plan = invoke("scale", "--quick")[1][0]
    assert (len(plan.deliveries), plan.partition_counts, plan.kinds) == (1, (8,), ("kill",))
    plan = invoke("scale")[1][0]
    assert (len(plan.deliveries), plan.partition_counts, len(plan.kinds)) == (2, (8, 2, 32), 4)


def test_a_quick_stream_benchmark_says_so(invoke: Callable[..., tuple[Any, list[Any]]]) -> None:
    """The note of the quick plan names what is left out."""
    plan = invoke("stream", "--quick")[1][0]
    assert plan.note.startswith("quick: a backlog of at most 4000 records")


@pytest.mark.parametrize(
    ("lost", "mode", "duplicated", "code"),
    [(1, DeliveryMode(8), 0, 1), (0, DeliveryMode(8, 100), 1, 1), (0, DeliveryMode(8), 1, 0), (0, DeliveryMode(8, 100), 0, 0)],
)
def test_losses_and_repetitions_of_exactly_once_are_an_exit_code(
    lost: int, mode: DeliveryMode, duplicated: int, code: int, invoke: Callable[..., tuple[Any, list[Any]]]
) -> None:
    """At-least-once delivery may repeat outputs."""
    found = build_delivery()
    found.runs[:] = [replace(run, lost=lost if number == 0 else 0, duplicated=0) for number, run in enumerate(found.runs)]
    found.runs.append(replace(found.runs[0], mode=mode, lost=0, duplicated=duplicated))
    assert invoke("delivery", results=found)[0].exit_code == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("backfill", "--loads", "25,95"), "--loads 25,95: choose at most 90"),
        (("stream", "--delivery", "perhaps"), "--delivery perhaps: choose from at_least_once, exactly_once"),
        (("scale", "--delivery", "perhaps"), "--delivery perhaps: choose from"),
        (("stream", "--workers", "two"), "--workers two: write whole numbers"),
        (("sweep", "threads"), "threads: write SETTING=VALUE"),
        (("stream", "--output", "/nowhere/results.json"), "there is no directory /nowhere"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_runs(arguments: tuple[str, ...], message: str) -> None:
    """The error names the argument and the choice."""
    outcome = CliRunner().invoke(app, ["bench", *arguments])
    assert isinstance(outcome.exception, BadSettings)
    assert message in str(outcome.exception)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the package and the extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psutil" else object())
    with pytest.raises(BadSettings, match=r"needs psutil: pip install 'gist-stream\[bench\]'"):
        check_packages()


def test_sigterm_is_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is that of a shell, 143."""

    def end(_console: object, _measure: Callable[..., object]) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(with_broker, "run_with_kafka", end)
    outcome = CliRunner().invoke(app, ["bench", "delivery"])
    assert outcome.exit_code == 143
    assert "ended by SIGTERM" in outcome.stderr

"""The benchmarks with a broker: their plans, outputs and exit codes."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.bench.results import BENCHMARKS, read_png_start
from worker.cli import app
from worker.commands.bench import with_broker
from worker.commands.bench.with_broker import check_packages
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = [name for name in BENCHMARKS if name != "engine"]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, list[Any]]]:
    """Return a function that runs a benchmark with given results, and returns the outcome and the plans."""
    monkeypatch.setattr(with_broker, "run_with_kafka", lambda _console, measure: asyncio.run(measure(None)))

    def invoke_with(name: str, *arguments: str, results: Any = None) -> tuple[Any, list[Any]]:
        plans = []

        async def run(plan: Any, _context: object) -> Any:
            plans.append(plan)
            return results or BENCHMARKS[name][0]()

        monkeypatch.setattr(importlib.import_module(f"worker.bench.{name}.run"), "run", run)
        return CliRunner().invoke(app, ["bench", name, *arguments]), plans

    return invoke_with


@pytest.mark.parametrize("name", NAMES)
def test_tables_json_and_plot_are_written(name: str, invoke: Callable[..., tuple[Any, list[Any]]], tmp_path: Path) -> None:
    """Tables go to standard output, `--output` writes JSON, and `--plot` writes a PNG."""
    files = tmp_path / "results.json", tmp_path / "plot.png"
    outcome, _ = invoke(name, "--output", str(files[0]), "--plot", str(files[1]))
    assert outcome.exit_code == 0, outcome.output
    assert "lost 0" in outcome.stdout
    assert "summary" in json.loads(files[0].read_bytes())
    assert read_png_start(files[1]) == b"\x89PNG"


@pytest.mark.parametrize("name", NAMES)
def test_markdown_names_commit_and_processor(name: str, invoke: Callable[..., tuple[Any, list[Any]]]) -> None:
    """`--markdown` prints a section with the conditions of the measurement and the tables, `--json` all figures."""
    shown = invoke(name, "--markdown")[0].stdout
    assert shown.startswith("### ")
    assert "Commit `" in shown
    assert "Xeon with AMX" in shown
    assert "| --: |" in shown
    json.loads(invoke(name, "--json")[0].stdout)


@pytest.mark.parametrize("name", ["stream", "api", "delivery", "scale"])
def test_a_quick_benchmark_measures_less(name: str, invoke: Callable[..., tuple[Any, list[Any]]]) -> None:
    """A whole benchmark has the plan of its flags."""
    whole, quick = (invoke(name, *arguments)[1][0] for arguments in ((), ("--quick",)))
    assert quick == whole.shorten() != whole


def test_losses_are_an_exit_code(invoke: Callable[..., tuple[Any, list[Any]]]) -> None:
    """The exit code is 1."""
    assert invoke("stream", results=BENCHMARKS["stream"][0](lost=1))[0].exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("backfill", "--loads", "25,95"), "--loads 25,95: choose at most 90"),
        (("stream", "--delivery", "perhaps"), "--delivery perhaps: choose from at_least_once, exactly_once"),
        (("scale", "--delivery", "perhaps"), "--delivery perhaps: choose from"),
        (("stream", "--workers", "two"), "--workers two: write whole numbers"),
        (("encoders", "--delivery", "at_least_once,exactly_once"), "choose one --delivery"),
        (("sweep", "threads"), "threads: write SETTING=VALUE"),
        (("stream", "--output", "/nowhere/results.json"), "there is no directory /nowhere"),
        (("stream", "--publish"), "run the command in a checkout"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_runs(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the argument and the choice."""
    monkeypatch.chdir(tmp_path)
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

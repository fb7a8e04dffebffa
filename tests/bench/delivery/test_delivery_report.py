"""The report: the table, the verdict and the picture, of results that never ran."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from rich.console import Console

from tests.bench.delivery.test_delivery_results import BESIDE, MAIN, made, results
from worker.bench.delivery import report
from worker.bench.delivery.results import DeliveryResults

if TYPE_CHECKING:
    from pathlib import Path


def shown(found: DeliveryResults) -> str:
    """Return what is printed."""
    console = Console(file=io.StringIO(), width=132)
    report.show(console, found)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_table_says_everything_once() -> None:
    """How fast, how long, at what price, and what was lost."""
    text = shown(results())
    for part in ("every 300 ms", "0.950", "1,000", "repeated 0 exactly once and 2 at least once", "how it was measured"):
        assert part in text
    assert "8 partitions, exactly once, 100 ms: 90.0% of the throughput of at least once, 3 in turn with it" in text


def test_what_was_not_measured_is_blank() -> None:
    """Where the time was up after the first run."""
    text = shown(DeliveryResults({}, MAIN, [made(BESIDE, 1_000)]))
    assert "nan" not in text


def test_json_has_the_summary_and_every_run() -> None:
    """In the order in which they were measured."""
    read = json.loads(report.as_json(results()))
    assert read["summary"]["num_rounds"] == 3
    assert read["runs"][1]["way"] == {"num_partitions": 8, "interval_ms": 100}
    assert read["runs"][1]["latency"]["p50_ms"] == 100


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """As PNG, of a whole run and of one that was cut short."""
    for found in (
        results(),
        DeliveryResults({}, MAIN, [made(BESIDE, 1_000), made(MAIN, 900)]),
        DeliveryResults({}, MAIN, [made(BESIDE, 1_000)]),
    ):
        report.plot(found, tmp_path / "delivery.png")
        assert (tmp_path / "delivery.png").read_bytes().startswith(b"\x89PNG")

"""The command: what is asked wrongly is one line, and what is quick says so."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.stream.test_stream_report import results
from worker.commands import bench_stream
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS: dict[str, Any] = {
    "deliveries": (), "worker_counts": (1,), "num_partitions": 8, "count": 20_000, "phase_s": 15.0, "is_quick": True,
    "json_file": None, "plot_file": None,
}  # fmt: skip


def test_worker_counts_are_whole_numbers() -> None:
    """From one on."""
    assert bench_stream.counts_of("1, 2,4") == (1, 2, 4)
    for wrong in ("", "0", "1,,2", "two", "1,-1"):
        with pytest.raises(BadSettings, match="--workers"):
            bench_stream.counts_of(wrong)


def test_what_is_missing_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psutil" else object())
    with pytest.raises(BadSettings, match=r"needs psutil: pip install 'gist-stream\[bench\]'"):
        bench_stream.bench_stream(**OPTIONS)


def test_an_unknown_delivery_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(BadSettings, match=r"no delivery perhaps; there is .*at_least_once"):
        bench_stream.bench_stream(**{**OPTIONS, "deliveries": ("perhaps",)})


def test_a_loss_is_an_exit_code_and_quick_says_what_it_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The files are written all the same."""
    monkeypatch.setattr(bench_stream, "measured", lambda _console, _run: results())
    files = {"json_file": tmp_path / "stream.json", "plot_file": tmp_path / "stream.png"}
    assert bench_stream.bench_stream(**{**OPTIONS, **files}) == 1
    assert "quick: a backlog of 4000 messages" in capsys.readouterr().out
    assert all(it.stat().st_size for it in files.values())

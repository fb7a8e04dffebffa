"""What the benchmarks with a broker share: what is asked wrongly is one line, and an end by a signal an exit code."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.bench.test_bench_delivery import OPTIONS
from worker.commands.bench import delivery as bench_delivery
from worker.commands.bench import with_broker as bench_with_broker
from worker.commands.bench.with_broker import check_extra, parse_counts
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Callable


def test_counts_are_whole_numbers() -> None:
    """From one on; the flag is named where they are not."""
    assert parse_counts("1, 2,4", flag="--workers") == (1, 2, 4)
    for wrong in ("", "0", "1,,2", "two", "1,-1"):
        with pytest.raises(BadSettings, match="--workers"):
            parse_counts(wrong, flag="--workers")


def test_what_is_missing_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything starts."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "psutil" else object())
    with pytest.raises(BadSettings, match=r"needs psutil: pip install 'gist-stream\[bench\]'"):
        check_extra()


def test_an_end_by_sigterm_is_said_and_is_an_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As the shell counts it."""

    def ended(_console: object, _run: Callable[..., object]) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(bench_with_broker, "measured", ended)
    assert bench_delivery.bench_delivery(**OPTIONS) == 143
    assert "ended by SIGTERM" in capsys.readouterr().out

"""A baseline computes in the faster number format."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from worker.bench.frame.fastest import choose_fastest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(
    ("fp32", "bf16", "expected"), [([9, 2, 2], [9, 1, 3], "bf16"), ([9, 1, 1], [9, 5, 5], "fp32"), ([90, 1, 1], [1, 2, 2], "fp32")]
)
def test_the_better_of_two_turns_counts(
    fp32: list[float], bf16: list[float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run of each format is a warm-up; a single format runs once."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def run(seconds: Iterator[float]) -> None:
        clock[0] += next(seconds)

    assert choose_fastest({"fp32": iter(fp32), "bf16": iter(bf16)}, run) == expected
    assert choose_fastest({"fp32": iter([1.0])}, run) == "fp32"

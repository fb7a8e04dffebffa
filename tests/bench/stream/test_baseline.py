"""The tuned baseline takes the faster data type."""

from __future__ import annotations

import time
from typing import Any

import pytest

torch = pytest.importorskip("torch")
baseline = pytest.importorskip("worker.bench.stream.baseline", reason="the extra bench is not installed")


class SlowModel:
    """A model that advances a clock with each call."""

    def __init__(self, clock: list[float], seconds: list[float]) -> None:
        self.clock = clock
        self.seconds = iter(seconds)

    def encode(self, texts: list[str], **_options: Any) -> list[str]:
        """Return the texts."""
        self.clock[0] += next(self.seconds)
        return texts


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [([9, 2, 2], [9, 1, 3], "bfloat16"), ([9, 1, 1], [9, 5, 5], "float32"), ([90, 1, 1], [1, 2, 2], "float32")],
)
def test_the_baseline_takes_the_faster_data_type(
    float32: list[float], bfloat16: list[float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The better of two turns counts, and the first run of each model does not."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    models = {torch.float32: SlowModel(clock, float32), torch.bfloat16: SlowModel(clock, bfloat16)}
    assert baseline.choose_fastest(models) == getattr(torch, expected)

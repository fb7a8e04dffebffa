"""The engine without a broker: every text once, in full batches."""

from __future__ import annotations

import math

import pytest

from worker.bench.stream.engine import batches, measure_single_text_ms
from worker.model.engine import Engine

pytestmark = pytest.mark.model


def test_every_text_is_in_one_batch_within_the_budget() -> None:
    """Nine of ten batches are nearly full."""
    engine = Engine.load("package:worker/checkpoints/minilm", backend="eager", threads=2)
    texts = [f"Text number {number} " + "and more " * (number % 13) for number in range(400)]
    found = list(batches(engine, texts, max_tokens=512, max_records=64))
    assert sorted(int(item.item.id) for batch in found for item in batch.items) == list(range(400))
    assert all(batch.num_tokens <= 512 and len(batch.items) <= 64 for batch in found)
    assert sum(batch.num_tokens > 450 or len(batch.items) == 64 for batch in found) > 0.9 * len(found)
    assert 0 < measure_single_text_ms(engine, texts[:3]) < math.inf

"""The patch of the zstd level."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import numpy as np
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from worker.broker.patches.compression_level import patch_compression_level

if TYPE_CHECKING:
    import pytest

_ZSTD = 4


def build_batch(values: list[bytes]) -> bytes:
    """Return a compressed batch."""
    builder = BatchBuilder(10_000_000, _ZSTD)
    for value in values:
        builder.append(timestamp=0, key=b"k", value=value, headers=[])
    return bytes(builder._build())


def test_aiokafka_has_no_setting_for_the_level() -> None:
    assert not [name for name in inspect.signature(AIOKafkaProducer.__init__).parameters if "level" in name]


def test_the_patched_level_compresses_vectors_at_least_as_well_and_readably(monkeypatch: pytest.MonkeyPatch) -> None:
    builders = sys.modules[DefaultRecordBatchBuilder.__module__]
    # Another test may have patched the module already. The fixture restores this state.
    monkeypatch.setattr(builders, "zstd_encode", zstd_encode)
    vectors = np.random.default_rng(0).normal(0, 0.05, (40, 384)).astype(np.float32)
    values = [orjson.dumps({"embedding": vector}, option=orjson.OPT_SERIALIZE_NUMPY) for vector in vectors]
    before = build_batch(values)
    patch_compression_level()
    patch_compression_level()
    after = build_batch(values)
    assert after != before
    assert len(after) <= len(before)
    batch = MemoryRecords(after).next_batch()
    assert batch is not None
    assert [record.value for record in batch] == values

"""How hard Kafka's client compresses: lightly, and so that everybody can read it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import orjson
from aiokafka.codec import zstd_encode
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from worker.broker.patches.compression_level import patch_compression_level

if TYPE_CHECKING:
    import pytest

_ZSTD = 4


def built(values: list[bytes]) -> bytes:
    """Return a compressed batch."""
    builder = BatchBuilder(10_000_000, _ZSTD)
    for value in values:
        builder.append(timestamp=0, key=b"k", value=value, headers=[])
    return bytes(builder._build())


def test_vectors_pack_at_least_as_densely_as_at_the_clients_own_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was packed is read as it was."""
    builders = sys.modules[DefaultRecordBatchBuilder.__module__]
    # As the client has it, whoever was here before; and put back at the end.
    monkeypatch.setattr(builders, "zstd_encode", zstd_encode)
    vectors = np.random.default_rng(0).normal(0, 0.05, (40, 384)).astype(np.float32)
    values = [orjson.dumps({"embedding": it}, option=orjson.OPT_SERIALIZE_NUMPY) for it in vectors]
    before = built(values)
    patch_compression_level()
    patch_compression_level()
    after = built(values)
    assert after != before
    assert len(after) <= len(before)
    batch = MemoryRecords(after).next_batch()
    assert batch is not None
    assert [record.value for record in batch] == values

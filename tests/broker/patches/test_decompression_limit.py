"""Batches of records are decompressed as they always were, up to a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from worker.broker.patches.decompression_limit import MAX_BATCH_BYTES, BatchTooLarge, patch_decompression_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.fixture(autouse=True)
def _bounded() -> None:
    patch_decompression_limit()


def batch_of(codec: str, values: Sequence[bytes]) -> DefaultRecordBatch:
    """Return a batch as a producer sends it."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=CODECS[codec], is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=2 * MAX_BATCH_BYTES,
    )  # fmt: skip
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, b"key", value, [])
    return DefaultRecordBatch(bytes(builder.build()))


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_compressed_comes_back(codec: str) -> None:
    """Byte for byte, record for record."""
    values = [b"", b"x", bytes(range(256)) * 1_000, b"text " * 100_000]
    assert [record.value for record in batch_of(codec, values)] == values


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_batch_over_the_bound_is_refused(codec: str) -> None:
    """However little of it was sent."""
    batch = batch_of(codec, [bytes(MAX_BATCH_BYTES)])
    with pytest.raises(BatchTooLarge):
        list(batch)

"""The patch of the decompression limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiokafka.codec
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from worker.broker.patches.decompression_limit import MAX_BATCH_BYTES, BatchTooLarge, patch_decompression_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.fixture(autouse=True)
def _patched() -> None:
    patch_decompression_limit()


def build_batch(codec: str, values: Sequence[bytes]) -> DefaultRecordBatch:
    """Return a batch as a producer sends it."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=CODECS[codec], is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=2 * MAX_BATCH_BYTES,
    )  # fmt: skip
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, b"key", value, [])
    return DefaultRecordBatch(bytes(builder.build()))


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_aiokafka_decompresses_a_batch_of_any_size(codec: str) -> None:
    encode, decode = (getattr(aiokafka.codec, f"{codec}_{operation}") for operation in ("encode", "decode"))
    assert len(decode(encode(bytes(MAX_BATCH_BYTES + 1)))) == MAX_BATCH_BYTES + 1


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_within_the_limit_is_decompressed_unchanged(codec: str) -> None:
    values = [b"", b"x", bytes(range(256)) * 1_000, b"text " * 100_000]
    assert [record.value for record in build_batch(codec, values)] == values


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_batch_over_the_limit_is_refused(codec: str) -> None:
    batch = build_batch(codec, [bytes(MAX_BATCH_BYTES)])
    with pytest.raises(BatchTooLarge):
        list(batch)

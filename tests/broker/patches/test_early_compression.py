"""The patch that compresses a batch before its sequence number is known."""

from __future__ import annotations

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from worker.broker.patches.early_compression import compress_early

_NONE, _ZSTD = 0, 4
STATE = {"producer_id": 2**40 + 7, "producer_epoch": 3, "base_sequence": 2**30 + 5}


def build_batch(compression: int, *, is_transactional: bool = False) -> BatchBuilder:
    """Return a batch of 50 records."""
    batch = BatchBuilder(1_000_000, compression, is_transactional=is_transactional)
    for number in range(50):
        batch.append(timestamp=1_700_000_000_000 + number, key=b"%d" % number, value=b"v" * number, headers=[("h", b"x")])
    return batch


def test_aiokafka_compresses_when_a_batch_is_taken() -> None:
    """A closed batch is not compressed yet."""
    batch = build_batch(_ZSTD)
    batch.close()
    assert batch._buffer is None


@pytest.mark.parametrize("compression", [_NONE, _ZSTD])
@pytest.mark.parametrize("is_transactional", [False, True])
def test_the_bytes_are_those_of_aiokafka(compression: int, *, is_transactional: bool) -> None:
    """The state of the producer and the checksum are in the compressed batch, and the batch is valid."""
    early, late = (build_batch(compression, is_transactional=is_transactional) for _ in range(2))
    compress_early(early)
    assert early.closed()
    assert early.record_count() == 50
    for batch in (early, late):
        batch._set_producer_state(**STATE)
    assert early._build() == late._build()
    found = MemoryRecords(bytes(early._build())).next_batch()
    assert found.validate_crc()
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == tuple(STATE.values())

"""Patch: compress a batch before its producer state is known.

aiokafka: compresses a batch when it takes the batch for a request, in the event loop, because only then the batch gets its sequence
number.
Why it matters: compression takes as much time as all other work of the event loop for a record. With the patch a thread
compresses, without the interpreter's lock; the sequence number is written into the finished batch later.
Reference: https://kafka.apache.org/documentation/#recordbatch (the header is not compressed).
Needed until: `tests/broker/patches/test_early_compression.py::test_aiokafka_compresses_when_a_batch_is_taken` fails.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from aiokafka.producer.message_accumulator import BatchBuilder

# Fields of the header of a batch, big-endian: the checksum of all bytes from the attributes on, and the state of the producer.
_CHECKSUM, _CHECKSUM_OFFSET, _ATTRIBUTES_OFFSET = struct.Struct(">I"), 17, 21
_STATE, _STATE_OFFSET = struct.Struct(">qhi"), 43


def compress_early(batch: BatchBuilder) -> None:
    """Close and compress a batch. aiokafka then only writes the producer's state into its header."""
    buffer = batch._build()  # noqa: SLF001  aiokafka's own entry
    batch._set_producer_state = partial(_write_producer_state, buffer)  # noqa: SLF001  replaced for this batch


def _write_producer_state(buffer: bytearray, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
    _STATE.pack_into(buffer, _STATE_OFFSET, producer_id, producer_epoch, base_sequence)
    _CHECKSUM.pack_into(buffer, _CHECKSUM_OFFSET, calc_crc32c(memoryview(buffer)[_ATTRIBUTES_OFFSET:]))

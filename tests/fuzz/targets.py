"""Functions of bytes that call the decoders of untrusted input, and raise an exception only for a defect.

Used by `make test`, with random bytes and these seeds, and by `make fuzz`, which looks for new ways through the code.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
from typing import TYPE_CHECKING

import cramjam
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from worker.broker.patches.decompression_limit import patch_decompression_limit
from worker.errors import InvalidRecord
from worker.flow.outcomes import build_failure
from worker.records import Partition, Record, Stage, Task, Tombstone
from worker.wire.decode import Limits, decode
from worker.wire.encode import compute_max_dead_letter_bytes, encode_dead_letter

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.records import Headers

_LIMITS = Limits(max_message_bytes=20_000, max_headers=8, max_headers_bytes=512, max_dead_letter_payload_bytes=4_000)
# The length that stands for a null value of a header.
_NULL = 255
_NAMES = ("content-type", "tasks", "ce_specversion", "ce_id", "gist-source-topic", "é")
# What stands before the records of a batch: https://kafka.apache.org/documentation/#recordbatch
_HEADER = struct.Struct(">qiibIhiqqqhii")
_CRC_FROM, _NUM_HEADER_BYTES_UNCOUNTED = 21, 12


def decoding(data: bytes) -> None:
    """Decode a record of these bytes: the result is an item, a tombstone, or a dead letter within the size limit."""
    record = _record(data)
    try:
        decoded = decode(record, limits=_LIMITS, tasks=frozenset(Task))
    except InvalidRecord as error:
        outcome = encode_dead_letter(record, build_failure(error, Stage.DECODE), model_name="m", limits=_LIMITS)
        size_bytes = outcome.messages[0].size_bytes
        if size_bytes > compute_max_dead_letter_bytes(_LIMITS):
            raise AssertionError(f"a dead letter has {size_bytes} bytes") from error
        json.loads(outcome.messages[0].value or b"")
        return
    if isinstance(decoded, Tombstone):
        return
    if not decoded.text.encode() or not decoded.tasks:
        raise AssertionError(f"{decoded!r} is no item")


def reading(data: bytes) -> None:
    """Read a record batch with a valid checksum and arbitrary content within the bounds of memory."""
    patch_decompression_limit()
    records = MemoryRecords(_batch(data))
    # The fetcher takes any failure for a batch that cannot be read; what we look for is a crash, a flood or a standstill.
    with contextlib.suppress(Exception):
        while (batch := records.next_batch()) is not None:
            for record in batch:
                _ = record.offset, record.timestamp, record.key, record.value, record.headers


def _record(data: bytes) -> Record:
    """Take headers from the front, each with its length, and the value from the remaining bytes."""
    num_headers, rest = (data[0] % 10 if data else 0), data[1:]
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(num_headers):
        if len(rest) < 2:
            break
        name, length = _NAMES[rest[0] % len(_NAMES)], rest[1]
        headers.append((name, rest[2 : 2 + length] if length != _NULL else None))
        rest = rest[2 + length :]
    found: Headers = tuple(headers)
    return Record(Partition("texts", 0), 7, b"k" if num_headers % 2 else None, rest if rest != b"\0" else None, found)


def _batch(data: bytes) -> bytes:
    """Put a batch header before the bytes: the first byte selects the compression, the next the number of records."""
    codec, count, payload = (data[0] % 8 if data else 0), (data[1] if len(data) > 1 else 1), data[2:]
    length = _HEADER.size - _NUM_HEADER_BYTES_UNCOUNTED + len(payload)
    fields = (0, length, 0, 2, 0, codec, max(0, count - 1), 1_700_000_000_000, 1_700_000_000_000, -1, -1, -1, count)
    batch = bytearray(_HEADER.pack(*fields) + payload)
    batch[_CRC_FROM - 4 : _CRC_FROM] = calc_crc32c(bytes(batch[_CRC_FROM:])).to_bytes(4)
    return bytes(batch)


def _records(value: bytes) -> bytes:
    """Return one record with a header in the format of a record batch."""
    body = b"\x00\x00\x00" + b"\x02k" + bytes([2 * len(value)]) + value + b"\x02" + b"\x02h" + b"\x02v"
    return bytes([2 * len(body)]) + body


_REQUEST = b'{"id": "a", "text": "hello \\u00e9", "tasks": ["ner", "embed"]}'
_EVENT = b'{"specversion": "1.0", "id": "e", "source": "/s", "type": "t", "data_base64": "eyJ0ZXh0IjoiYiJ9"}'
_ONE = _records(b'{"text":"x"}')
SEEDS: dict[str, list[bytes]] = {
    "decoding": [
        b"",
        b"\x00" + _REQUEST,
        b"\x00" + _EVENT,
        b"\x01\x00\x0atext/plainplain",
        b"\x03\x02\x031.0\x03\x01e\x00\x0atext/plainbinary event",
        b"\x01\x01\x09embed,nerx",
        b"\x01\x00\x1eapplication/cloudevents+json" + _EVENT,
        b'\x00{"text": "' + b"[" * 2_000,
        b"\x00" + b"[" * 5_000,
        b"\x00\xff\xfe",
        b"\x00" + b"x" * 30_000,
    ],
    "reading": [
        b"",
        b"\x00\x01" + _ONE,
        b"\x01\x01" + gzip.compress(_ONE),
        b"\x03\x01" + bytes(cramjam.lz4.compress(_ONE)),
        b"\x04\x01" + bytes(cramjam.zstd.compress(_ONE)),
        b"\x02\x01" + bytes(cramjam.snappy.compress_raw(_ONE)),
        b"\x00\xff" + _ONE,
        b"\x00\x01" + b"\xff" * 40,
        b"\x04\x01" + bytes(cramjam.zstd.compress(bytes(1_000_000))),
    ],
}
TARGETS: dict[str, Callable[[bytes], None]] = {"decoding": decoding, "reading": reading}

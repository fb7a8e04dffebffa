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
from worker.records import Item, Partition, Record, Stage, Task, Tombstone
from worker.wire.decode import Limits, decode
from worker.wire.encode import compute_max_dead_letter_bytes, encode_dead_letter
from worker.wire.envelopes import UNAVAILABLE, Envelope
from worker.wire.fields.paths import FieldPath, TextTemplate
from worker.wire.mapping import EmptyText, IdSource, InputMapping, build_decoder
from worker.wire.registered.content import build_value_reader
from worker.wire.registered.frame import RegisteredSchema, build_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.records import Headers

_MAPPINGS = (
    InputMapping(),
    InputMapping(text=FieldPath.parse("body"), skips_unchanged=True, empty_text=EmptyText.TOMBSTONE),
    InputMapping(text=FieldPath.parse("after.items.0.body"), id_source=IdSource.KEY, empty_text=EmptyText.SKIP),
    InputMapping(text=TextTemplate.parse("{title}: {body}"), id_path=FieldPath.parse("key.id"), envelope=Envelope.CONNECT),
    InputMapping(text=FieldPath.parse("body"), tasks_path=FieldPath.parse("op"), envelope=Envelope.DEBEZIUM),
)
_LIMITS = Limits(max_message_bytes=20_000, max_headers=8, max_headers_bytes=512, max_dead_letter_payload_bytes=4_000)
_DECODERS = [build_decoder(each, limits=_LIMITS, tasks=frozenset(Task)) for each in _MAPPINGS]
_AVRO_SCHEMAS: tuple[object, ...] = (
    {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "string"]}, {"name": "b", "type": "long"}]},
    {"type": "map", "values": {"type": "array", "items": {"type": "bytes", "logicalType": "decimal", "scale": 2}}},
    {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]},
    {"type": "array", "items": ["null", {"type": "enum", "name": "E", "symbols": ["A"]}, {"type": "int", "logicalType": "date"}]},
)
_PROTO = (
    'syntax = "proto3"; message A { string a = 1; map<string, A> b = 2; repeated A c = 3; oneof d { int64 e = 4; bytes f = 5; } }'
)
_READERS = [
    *(build_value_reader(RegisteredSchema("AVRO", json.dumps(schema))) for schema in _AVRO_SCHEMAS),
    build_value_reader(RegisteredSchema("PROTOBUF", _PROTO)),
]
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


def mapping(data: bytes) -> None:
    """Decode a record by a mapping, which the first byte selects: the result is one of four fates."""
    record = _record(data[1:])
    try:
        decoded = _DECODERS[data[0] % len(_DECODERS) if data else 0](record)
    except InvalidRecord:
        return
    if isinstance(decoded, Item) and not (decoded.text.encode() and decoded.id and decoded.tasks):
        raise AssertionError(f"{decoded!r} is no item")
    if isinstance(decoded, Tombstone) and record.key is None:
        raise AssertionError(f"{decoded!r} deletes nothing")


def registered(data: bytes) -> None:
    """Read a value by a schema, which the first byte selects, or take the data for a schema: the result is a value or a refusal."""
    number, content = (data[0], data[1:]) if data else (0, b"")
    if number >= len(_READERS):
        reader, content = build_value_reader(RegisteredSchema("AVRO", content.decode(errors="replace"))), b"\x02" * 20
    else:
        reader = _READERS[number]
    with contextlib.suppress(InvalidRecord):
        reader(build_prefix(1) + content)


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
_ROW = {"id": 7, "body": "It works.", "title": None, "items": [{"body": "x"}], "key": {"id": "k"}}
_CHANGES: list[dict[str, object]] = [
    {"op": "c", "before": None, "after": _ROW, "source": {}},
    {"op": "u", "before": _ROW, "after": _ROW, "source": {}},
    {"op": "u", "before": None, "after": {**_ROW, "body": UNAVAILABLE}, "source": {}},
    {"op": "r", "after": json.dumps(_ROW), "source": {}},
    {"op": "d", "before": _ROW, "after": None, "source": {}},
    {"op": "t", "source": {}},
    {"op": "m", "source": {}, "message": {}},
]
_ENVELOPES = [
    _ROW,
    *_CHANGES,
    *({"schema": {"type": "struct"}, "payload": payload} for payload in (_ROW, "text", None, [1], *_CHANGES)),
    {"specversion": "1.0", "id": "e", "data": _CHANGES[0]},
]
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
    # Each change event and each row with each mapping.
    "mapping": [bytes([number]) + b"\x00" + json.dumps(value).encode() for number in range(len(_MAPPINGS)) for value in _ENVELOPES],
    "registered": [
        b"",
        *(bytes([number]) + b"\x02\x06abc\x04\x02\x02x\x00\x00" for number in range(len(_AVRO_SCHEMAS))),
        *(b"\xff" + json.dumps(schema).encode() for schema in _AVRO_SCHEMAS),
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
TARGETS: dict[str, Callable[[bytes], None]] = {
    "decoding": decoding,
    "mapping": mapping,
    "registered": registered,
    "reading": reading,
}

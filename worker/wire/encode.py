"""Results to bytes: every message that the worker writes, and nothing that a consumer could not read. Pure.

`decode`, the other direction, stands in `decoding`. The messages are built from plain dictionaries; `schemas` says what they mean,
and the tests hold one against the other.
"""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from worker.errors import InvariantBroken, RecordFailed
from worker.records import OUTPUT_OF_TASK, Message, Outcome, Output, Record, Task
from worker.wire.decode import ATTEMPT_HEADER, REPLAY_TASK_HEADER, Limits, count_replay_bytes, read_attempts
from worker.wire.headers import build_event_headers, build_source_headers, copy_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from worker.records import Classification, Entity, Failure, Headers, Prediction, TokenizedItem, Tombstone, UnreadableRange

# Bounds of what a dead letter says, in characters, and carries, in bytes.
_MAX_MESSAGE_CHARS = 2_000
_MAX_DEAD_LETTER_KEY_BYTES = 16_384
_INT8_LARGEST = 127


class EmbeddingEncoding(StrEnum):
    """How a vector is written; `schemas.v1.Embedding` defines each."""

    FLOAT = "float"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


def encode(
    tokenized: TokenizedItem, prediction: Prediction, *, model_name: str, encoding: EmbeddingEncoding, limits: Limits
) -> Outcome:
    """Return a message for each task with a result, and a dead letter for each that failed.

    Raises `InvariantBroken` where a number is not finite: JSON has no word for it, and nobody could read the value. Raises
    `RecordFailed` where the encoding cannot hold a number.
    """
    item, tokens = tokenized.item, tokenized.tokens
    truncated = b"true" if tokens.truncated else b"false"
    copied = copy_headers(item.record)
    origin = (*build_source_headers(item.record, model_name), ("gist-tokens", b"%d" % len(tokens)), ("gist-truncated", truncated))

    def message(output: Output, value: Mapping[str, Any]) -> Message:
        headers = copied + build_event_headers(item.record, output, marks=(model_name,)) + origin
        return Message(output, item.record.key, orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), headers)

    messages = []
    if prediction.embedding is not None:
        messages.append(message(Output.EMBEDDINGS, {"id": item.id, **_embedding(prediction.embedding, encoding)}))
    if prediction.labels is not None:
        messages.append(message(Output.LABELS, {"id": item.id, "labels": _labels(prediction.labels)}))
    if prediction.entities is not None:
        messages.append(message(Output.ENTITIES, {"id": item.id, "entities": _entities(prediction.entities)}))
    letters = [_dead_letter(item.record, it, model_name=model_name, limits=limits) for it in prediction.failures]
    return Outcome(item.record, (*messages, *letters), prediction.failures)


def encode_tombstone(tombstone: Tombstone, *, tasks: frozenset[Task]) -> Outcome:
    """Return a tombstone for the output of every task that the worker serves."""
    record = tombstone.record
    copied, origin = copy_headers(record), build_source_headers(record, None)
    messages = [
        Message(output, record.key, None, copied + build_event_headers(record, output, is_tombstone=True) + origin)
        for output in (OUTPUT_OF_TASK[task] for task in Task if task in tasks)
    ]
    return Outcome(record, tuple(messages))


def encode_dead_letter(source: Record | UnreadableRange, failure: Failure, *, model_name: str, limits: Limits) -> Outcome:
    """Return a dead letter as all that becomes of a record."""
    return Outcome(source, (_dead_letter(source, failure, model_name=model_name, limits=limits),), (failure,))


def compute_max_dead_letter_bytes(limits: Limits) -> int:
    """Return the size that no dead letter exceeds: a topic that takes less could hold up a partition for ever.

    Base64 takes 4/3 of the payload; the key and the headers come as they are too; a control character in a name takes six.
    """
    return (4 * limits.max_dead_letter_payload_bytes + 7 * _MAX_DEAD_LETTER_KEY_BYTES + 22 * limits.max_headers_bytes) // 3 + 17_408


def decode_embedding(value: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the vector of an `Embedding` value, float32, shape `[dim]`, whatever its encoding; `binary` gives -1 and 1.

    Raises `ValueError` where the value is not what its `encoding` and `dim` say.
    """
    scale = 1 / _INT8_LARGEST if value.get("scale") is None else float(value["scale"])
    vector = _decoded(value["embedding"], EmbeddingEncoding(value["encoding"]), scale=scale)
    dim = int(value["dim"])
    # The last byte of packed bits may be padded.
    padding = 7 if value["encoding"] == EmbeddingEncoding.BINARY else 0
    if not dim <= len(vector) <= dim + padding:
        raise ValueError(f"an embedding of {len(vector)} numbers says that it has {dim}")
    return vector[:dim]


def _decoded(embedding: Any, encoding: EmbeddingEncoding, *, scale: float) -> NDArray[np.float32]:
    if encoding is EmbeddingEncoding.FLOAT:
        return np.asarray(embedding, dtype=np.float32)
    content = base64.b64decode(embedding, validate=True)
    if encoding is EmbeddingEncoding.BINARY:
        return np.unpackbits(np.frombuffer(content, dtype=np.uint8)).astype(np.float32) * 2 - 1
    if encoding is EmbeddingEncoding.INT8:
        if not 0 < scale < math.inf:
            raise ValueError(f"an embedding has the scale {scale}")
        return (np.frombuffer(content, dtype=np.int8) * np.float64(scale)).astype(np.float32)
    return np.frombuffer(content, dtype="<f4" if encoding is EmbeddingEncoding.FLOAT32 else "<f2").astype(np.float32)


def _labels(labels: Mapping[str, Classification]) -> dict[str, Any]:
    _check_finite(score for it in labels.values() for score in (it.score, *it.scores.values()))
    return {name: _label(it) for name, it in labels.items()}


def _label(found: Classification) -> dict[str, Any]:
    value = {"label": found.label, "score": found.score, "scores": dict(found.scores)}
    return value if found.labels is None else value | {"labels": list(found.labels)}


def _entities(entities: tuple[Entity, ...]) -> list[dict[str, Any]]:
    _check_finite(it.score for it in entities)
    return [
        {"type": it.type, "text": it.text, "start": it.start, "end": it.end, "score": it.score, "task": it.task} for it in entities
    ]


def _check_finite(scores: Iterable[float]) -> None:
    if not all(map(math.isfinite, scores)):
        raise InvariantBroken("a score that is NaN or infinite came out of the model room")


def _embedding(vector: NDArray[np.float32], encoding: EmbeddingEncoding) -> dict[str, Any]:
    if not np.isfinite(vector).all():
        raise InvariantBroken("a vector with NaN or infinity came out of the model room")
    value = {"dim": len(vector), "encoding": encoding.value}
    if encoding is EmbeddingEncoding.INT8:
        # Of a unit vector of some hundred numbers none is near 1: a step that suits the largest is several times finer.
        scale = float(np.abs(vector).max()) / _INT8_LARGEST or 1 / _INT8_LARGEST
        steps = np.rint(vector / np.float64(scale)).astype(np.int8)
        return {"embedding": _base64(steps.tobytes()), **value, "scale": scale}
    return {"embedding": _encoded(vector, encoding), **value}


def _encoded(vector: NDArray[np.float32], encoding: EmbeddingEncoding) -> NDArray[np.float32] | str:
    if encoding is EmbeddingEncoding.FLOAT:
        return np.ascontiguousarray(vector, dtype=np.float32)
    if encoding is EmbeddingEncoding.BINARY:
        return _base64(np.packbits(vector > 0).tobytes())
    if encoding is EmbeddingEncoding.FLOAT32:
        return _base64(vector.astype("<f4").tobytes())
    with np.errstate(over="ignore"):
        halves = vector.astype("<f2")
    if not np.isfinite(halves).all():
        raise RecordFailed("the vector has a number that float16 cannot hold")
    return _base64(halves.tobytes())


def _dead_letter(source: Record | UnreadableRange, failure: Failure, *, model_name: str, limits: Limits) -> Message:
    """Return a letter about a record, bounded whatever the record is.

    Its size is at most `compute_max_dead_letter_bytes`.
    """
    # Of an unreadable range nothing is known but where it lies.
    record = source if isinstance(source, Record) else Record(source.partition, source.offset, None, None)
    own, attempts = _own_headers(record), read_attempts(record.headers)
    payload, key, headers = record.value, record.key, _bounded_headers(own, limits)
    kept_key = None if key is None else key[:_MAX_DEAD_LETTER_KEY_BYTES]
    value = {
        "source": {
            "topic": source.partition.topic,
            "partition": source.partition.index,
            "offset": source.offset,
            "next_offset": source.next_offset,
            "timestamp": record.timestamp_ms if record.timestamp_ms >= 0 else None,
        },
        "stage": failure.stage,
        "error": failure.error,
        "message": _printable(failure.message),
        "task": failure.task,
        "attempts": attempts,
        "model": model_name,
        "key": None if kept_key is None else _base64(kept_key),
        "headers": [{"name": name, "value": None if content is None else _base64(content)} for name, content in headers],
        "payload": None if payload is None else _base64(payload[: limits.max_dead_letter_payload_bytes]),
        "payload_bytes": len(payload or b""),
        "payload_sha256": None if payload is None else hashlib.sha256(payload).hexdigest(),
        "truncated": len(headers) < len(own) or key != kept_key or len(payload or b"") > limits.max_dead_letter_payload_bytes,
    }
    bounded, marks = replace(record, headers=headers), (model_name, failure.task or "", str(attempts))
    event = build_event_headers(bounded, Output.DEAD_LETTERS, marks=marks)
    all_headers = copy_headers(bounded) + event + build_source_headers(record, model_name)
    return Message(Output.DEAD_LETTERS, kept_key, orjson.dumps(value), all_headers)


def _own_headers(record: Record) -> Headers:
    """Return the headers as the record's producer wrote them, and first, where a replay was for one task alone, which that was."""
    own = [it for it in record.headers if it[0] != ATTEMPT_HEADER]
    return tuple(sorted(own, key=lambda it: it[0] != REPLAY_TASK_HEADER))


def _bounded_headers(headers: Headers, limits: Limits) -> Headers:
    """Return as many of a record's headers, from the first, as the limits of a valid record allow."""
    kept: list[tuple[str, bytes | None]] = []
    room_bytes = limits.max_headers_bytes + count_replay_bytes(headers)
    for name, value in headers[: limits.max_headers + any(name == REPLAY_TASK_HEADER for name, _ in headers)]:
        room_bytes -= len(name.encode()) + len(value or b"")
        if room_bytes < 0:
            break
        kept.append((name, value))
    return tuple(kept)


def _printable(text: str) -> str:
    """Return a text that JSON can carry, bounded: an error message may quote anything."""
    return text[:_MAX_MESSAGE_CHARS].encode(errors="replace").decode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()

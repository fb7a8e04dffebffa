"""Encodes results, tombstones and dead letters. Pure.

`worker.wire.decode` is the other direction. Messages are encoded from plain dictionaries, for speed. The tests validate
them against `schemas`.
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
from worker.wire.formats import dump_json
from worker.wire.headers import build_event_headers, build_source_headers, copy_headers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from worker.records import (
        Classification,
        Failure,
        Headers,
        PredictedEntity,
        Prediction,
        TokenizedItem,
        Tombstone,
        UnreadableRange,
    )
    from worker.wire.formats import Serialize

# The longest message and key of a dead letter.
_MAX_MESSAGE_CHARS = 2_000
_MAX_DEAD_LETTER_KEY_BYTES = 16_384
_INT8_MAX = 127


class EmbeddingEncoding(StrEnum):
    """The encoding of a vector; `schemas.v1.Embedding` defines each."""

    FLOAT = "float"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


def encode(
    tokenized: TokenizedItem,
    prediction: Prediction,
    *,
    model_name: str,
    encoding: EmbeddingEncoding,
    limits: Limits,
    has_origin: bool = False,
    serialize: Serialize = dump_json,
) -> Outcome:
    """Return a message for each task with a result, and a dead letter for each failed task.

    With `has_origin` each value contains the model and the source, as the headers do. Raises `InvariantBroken` for a
    number that is not finite, because JSON cannot represent it. Raises `RecordFailed` if the encoding cannot represent a
    number.
    """
    item, tokens = tokenized.item, tokenized.tokens
    copied, truncated = copy_headers(item.record), b"true" if tokens.truncated else b"false"
    origin = (*build_source_headers(item.record, model_name), ("gist-tokens", b"%d" % len(tokens)), ("gist-truncated", truncated))
    # The outputs of a record share their headers, unless each is an event of its own.
    shared = copied + origin
    added = build_origin_fields(item.record, model_name) if has_origin else None

    def message(output: Output, value: dict[str, Any]) -> Message:
        if added is not None:
            value |= added
        event = build_event_headers(item.record, output, marks=(model_name,))
        headers = copied + event + origin if event else shared
        return Message(output, item.record.key, serialize(output, item.record, value), headers)

    messages = []
    if prediction.embedding is not None:
        messages.append(message(Output.EMBEDDINGS, {"id": item.id, **build_embedding_fields(prediction.embedding, encoding)}))
    if prediction.labels is not None:
        values = {} if prediction.values is None else {"values": prediction.values}
        messages.append(message(Output.LABELS, {"id": item.id, "labels": build_label_fields(prediction.labels), **values}))
    if prediction.entities is not None:
        messages.append(message(Output.ENTITIES, {"id": item.id, "entities": build_entity_list(prediction.entities)}))
    messages += [build_dead_letter(item.record, failure, model_name=model_name, limits=limits) for failure in prediction.failures]
    return Outcome(item.record, tuple(messages), prediction.failures)


def encode_tombstone(tombstone: Tombstone, *, tasks: frozenset[Task]) -> Outcome:
    """Return a tombstone for the output of each task."""
    record = tombstone.record
    copied, origin = copy_headers(record), build_source_headers(record, None)
    messages = [
        Message(output, record.key, None, copied + build_event_headers(record, output, is_tombstone=True) + origin)
        for output in (OUTPUT_OF_TASK[task] for task in Task if task in tasks)
    ]
    return Outcome(record, tuple(messages))


def encode_dead_letter(source: Record | UnreadableRange, failure: Failure, *, model_name: str, limits: Limits) -> Outcome:
    """Return a dead letter as the only message of a record."""
    return Outcome(source, (build_dead_letter(source, failure, model_name=model_name, limits=limits),), (failure,))


def compute_max_dead_letter_bytes(limits: Limits) -> int:
    """Return the largest size of a dead letter in bytes. A topic with a smaller limit could block a partition.

    Base64 needs 4/3 of the payload. Key and headers are in the message and in its value. A control character in a name
    needs six bytes.
    """
    return (4 * limits.max_dead_letter_payload_bytes + 7 * _MAX_DEAD_LETTER_KEY_BYTES + 22 * limits.max_headers_bytes) // 3 + 17_408


def decode_embedding(value: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return the vector of an `Embedding` value, float32, shape `[dim]`; the numbers of `binary` are -1 and 1.

    Raises `ValueError` if the value does not match its `encoding` and `dim`.
    """
    scale = 1 / _INT8_MAX if value.get("scale") is None else float(value["scale"])
    vector = _decode_numbers(value["embedding"], EmbeddingEncoding(value["encoding"]), scale=scale)
    dim = int(value["dim"])
    # The last byte of packed bits may be padded.
    padding = 7 if value["encoding"] == EmbeddingEncoding.BINARY else 0
    if not dim <= len(vector) <= dim + padding:
        raise ValueError(f"an embedding has {len(vector)} numbers, but its dim is {dim}")
    return vector[:dim]


def _decode_numbers(embedding: Any, encoding: EmbeddingEncoding, *, scale: float) -> NDArray[np.float32]:
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


def build_origin_fields(record: Record, model_name: str) -> dict[str, Any]:
    """Return the model and the source of a record as fields of a value."""
    source = {"topic": record.partition.topic, "partition": record.partition.index, "offset": record.offset}
    return {"model": model_name, "source": source | {"timestamp": record.timestamp_ms if record.timestamp_ms >= 0 else None}}


def build_label_fields(labels: Mapping[str, Classification]) -> dict[str, Any]:
    """Return the value of each head by its name. Raises `InvariantBroken` for a score that is not finite."""
    _check_finite(score for label in labels.values() for score in (label.score, *label.scores.values()))
    return {name: _encode_label(label) for name, label in labels.items()}


def _encode_label(label: Classification) -> dict[str, Any]:
    value = {"label": label.label, "score": label.score, "scores": dict(label.scores)}
    return value if label.labels is None else value | {"labels": list(label.labels)}


def build_entity_list(entities: tuple[PredictedEntity, ...]) -> list[dict[str, Any]]:
    """Return the values of entities in order. Raises `InvariantBroken` for a score that is not finite."""
    _check_finite(entity.score for entity in entities)
    return [{name: getattr(entity, name) for name in ("type", "text", "start", "end", "score", "task")} for entity in entities]


def _check_finite(scores: Iterable[float]) -> None:
    if not all(map(math.isfinite, scores)):
        raise InvariantBroken("the model returned a score that is not finite")


def build_embedding_fields(vector: NDArray[np.float32], encoding: EmbeddingEncoding) -> dict[str, Any]:
    """Return the fields of a vector. Raises `InvariantBroken`, or `RecordFailed` if the encoding cannot represent a number."""
    if not np.isfinite(vector).all():
        raise InvariantBroken("the model returned a vector with a number that is not finite")
    value = {"dim": len(vector), "encoding": encoding.value}
    if encoding is EmbeddingEncoding.INT8:
        # The numbers of a unit vector are far below 1, so the scale of the largest number is several times finer than 1/127.
        scale = float(np.abs(vector).max()) / _INT8_MAX or 1 / _INT8_MAX
        steps = np.rint(vector / np.float64(scale)).astype(np.int8)
        return {"embedding": _base64(steps.tobytes()), **value, "scale": scale}
    return {"embedding": _encode_numbers(vector, encoding), **value}


def _encode_numbers(vector: NDArray[np.float32], encoding: EmbeddingEncoding) -> NDArray[np.float32] | str:
    if encoding is EmbeddingEncoding.FLOAT:
        return np.ascontiguousarray(vector, dtype=np.float32)
    if encoding is EmbeddingEncoding.BINARY:
        return _base64(np.packbits(vector > 0).tobytes())
    if encoding is EmbeddingEncoding.FLOAT32:
        return _base64(vector.astype("<f4").tobytes())
    with np.errstate(over="ignore"):
        halves = vector.astype("<f2")
    if not np.isfinite(halves).all():
        raise RecordFailed("the vector has a number that float16 cannot represent")
    return _base64(halves.tobytes())


def build_dead_letter(source: Record | UnreadableRange, failure: Failure, *, model_name: str, limits: Limits) -> Message:
    """Return the dead letter of a record, of at most `compute_max_dead_letter_bytes`."""
    # Only the offsets of an unreadable range are known.
    record = source if isinstance(source, Record) else Record(source.partition, source.offset, None, None)
    own, attempts = _select_own_headers(record), read_attempts(record.headers)
    payload, key, headers = record.value, record.key, _limit_headers(own, limits)
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
        "message": _sanitize(failure.message),
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


def _select_own_headers(record: Record) -> Headers:
    """Return the headers of the producer, after the header of the task to repeat, if any."""
    own = [header for header in record.headers if header[0] != ATTEMPT_HEADER]
    return tuple(sorted(own, key=lambda header: header[0] != REPLAY_TASK_HEADER))


def _limit_headers(headers: Headers, limits: Limits) -> Headers:
    """Return the first headers that are within the limits of a valid record."""
    kept: list[tuple[str, bytes | None]] = []
    free_bytes = limits.max_headers_bytes + count_replay_bytes(headers)
    for name, value in headers[: limits.max_headers + any(name == REPLAY_TASK_HEADER for name, _ in headers)]:
        free_bytes -= len(name.encode()) + len(value or b"")
        if free_bytes < 0:
            break
        kept.append((name, value))
    return tuple(kept)


def _sanitize(text: str) -> str:
    """Return the start of a text without lone surrogates, because an error message may quote any input."""
    return text[:_MAX_MESSAGE_CHARS].encode(errors="replace").decode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()

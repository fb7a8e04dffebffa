"""Encodes the embedding of a text as one message for each chunk. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.records import Message, Outcome, Output, Record
from worker.wire.encode import build_embedding_fields, build_origin_fields, encode
from worker.wire.formats import dump_json
from worker.wire.headers import build_event_headers, build_source_headers, copy_headers, read_headers

if TYPE_CHECKING:
    from worker.records import Prediction, TokenizedItem
    from worker.wire.decode import Limits
    from worker.wire.encode import EmbeddingEncoding
    from worker.wire.formats import Serialize

#: The number of chunks of a text, in the headers of its outputs, and in the header of an input for its earlier version.
CHUNKS_HEADER, PREVIOUS_HEADER = "gist-chunks", "gist-previous-chunks"
_MAX_DIGITS = 6
# The most windows of a text that the settings allow. The header comes from the producer: a larger number would only cost memory.
_MAX_CHUNKS = 256


def encode_in_chunks(
    tokenized: TokenizedItem,
    prediction: Prediction,
    *,
    model_name: str,
    encoding: EmbeddingEncoding,
    limits: Limits,
    has_origin: bool = False,
    serialize: Serialize = dump_json,
) -> Outcome:
    """Return an embedding for each chunk of the text, and the other outputs as `encode` does. Raises what `encode` raises."""
    options: dict[str, Any] = {"model_name": model_name, "encoding": encoding, "limits": limits, "has_origin": has_origin}
    others = encode(tokenized, replace(prediction, embedding=None), **options, serialize=serialize)
    if prediction.embedding is None:
        return others
    item, tokens = tokenized.item, tokenized.tokens
    record, added = item.record, build_origin_fields(item.record, model_name) if has_origin else {}
    vectors = [prediction.embedding] if prediction.window_vectors is None else list(prediction.window_vectors)
    spans = [(0, len(item.text))]
    if prediction.window_vectors is not None:
        spans = [(int(tokens.spans[window.start][0]), int(tokens.spans[window.end - 1][1])) for window in tokens.windows]
    common = copy_headers(record)
    origin = (
        *build_source_headers(record, model_name),
        ("gist-tokens", b"%d" % len(tokens)),
        ("gist-truncated", b"true" if tokens.truncated else b"false"),
        (CHUNKS_HEADER, b"%d" % len(vectors)),
    )
    messages = []
    for number, (vector, (start, end)) in enumerate(zip(vectors, spans, strict=True)):
        value = {"id": f"{item.id}#{number}", **build_embedding_fields(vector, encoding), **added}
        value |= {"parent": item.id, "number": number, "count": len(vectors), "start": start, "end": end}
        event = build_event_headers(record, Output.EMBEDDINGS, marks=(model_name, str(number)))
        content = serialize(Output.EMBEDDINGS, record, value)
        messages.append(Message(Output.EMBEDDINGS, _build_key(record, number), content, common + event + origin))
    return replace(others, messages=(*messages, *others.messages), num_chunks=len(vectors))


def encode_chunk_tombstones(record: Record, first: int, end: int) -> tuple[Message, ...]:
    """Return tombstones for the chunks `first` to `end - 1` of an earlier version of a record with a key."""
    common, origin = copy_headers(record), build_source_headers(record, None)
    return tuple(
        Message(
            Output.EMBEDDINGS,
            _build_key(record, number),
            None,
            common + build_event_headers(record, Output.EMBEDDINGS, is_tombstone=True, marks=(str(number),)) + origin,
        )
        for number in range(first, end)
    )


def read_previous_chunks(record: Record) -> int:
    """Return the number of chunks of the earlier version, at most 256, from the header of the producer; 0 without a valid one."""
    written = read_headers(record.headers).get(PREVIOUS_HEADER, b"")
    return min(int(written), _MAX_CHUNKS) if written.isdigit() and len(written) <= _MAX_DIGITS else 0


def _build_key(record: Record, number: int) -> bytes | None:
    return None if record.key is None else record.key + b"#%d" % number

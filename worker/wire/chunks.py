"""Cuts the results of a text into chunks, and encodes the embedding of each chunk as a message. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from worker.parts import select_tokens
from worker.records import Message, Outcome, Output, Record, Task, TokenizedItem
from worker.wire.encode import build_embedding_fields, build_origin_fields, encode
from worker.wire.formats import dump_json
from worker.wire.headers import build_event_headers, build_source_headers, copy_headers, read_headers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from worker.records import Prediction
    from worker.wire.decode import Limits
    from worker.wire.encode import EmbeddingEncoding
    from worker.wire.formats import Serialize

#: The number of chunks of a text, in the headers of its outputs, and in the header of an input for its earlier version.
CHUNKS_HEADER, PREVIOUS_HEADER = "gist-chunks", "gist-previous-chunks"
_MAX_DIGITS = 6
# The most windows of a text that the settings allow. The header comes from the producer: a larger number would only cost memory.
_MAX_CHUNKS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a text with a vector of its own."""

    #: The record with the id and the text of the chunk; the tokens are those of the whole text.
    tokenized: TokenizedItem
    #: The vector of the chunk, the labels of the whole text, and the entities that begin in the chunk, with places in its text.
    prediction: Prediction
    vector: NDArray[np.float32]
    number: int
    #: The whole text of the record.
    whole: str
    #: The id of the record, the number of chunks, and the characters of the chunk in the text, by the names of the contract.
    fields: dict[str, Any]

    @property
    def key(self) -> bytes | None:
        """The key of the message of the chunk."""
        return build_chunk_key(self.tokenized.item.record, self.number)


def split_into_chunks(tokenized: TokenizedItem, prediction: Prediction, embedding: NDArray[np.float32]) -> list[Chunk]:
    """Return the chunks of a text with this embedding, in order; a short text is one chunk."""
    item, tokens = tokenized.item, select_tokens(tokenized.tokens, Task.EMBED)
    vectors, spans = [embedding], [(0, len(item.text))]
    if prediction.window_vectors is not None:
        vectors = list(prediction.window_vectors)
        spans = [(int(tokens.spans[window.start][0]), int(tokens.spans[window.end - 1][1])) for window in tokens.windows]
    chunks = []
    for number, (vector, (start, end)) in enumerate(zip(vectors, spans, strict=True)):
        own = replace(item, id=f"{item.id}#{number}", text=item.text[start:end])
        # Between two chunks are no other characters than spaces.
        entities = prediction.entities and tuple(
            replace(entity, start=entity.start - start, end=entity.end - start)
            for entity in prediction.entities
            if start <= entity.start < end
        )
        chunks.append(
            Chunk(
                tokenized=TokenizedItem(own, tokenized.tokens),
                prediction=replace(prediction, embedding=vector, entities=entities),
                vector=vector,
                number=number,
                whole=item.text,
                fields={"parent": item.id, "number": number, "count": len(spans), "start": start, "end": end},
            )
        )
    return chunks


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
    record, tokens = tokenized.item.record, tokenized.tokens
    added = build_origin_fields(record, model_name) if has_origin else {}
    # The entities have messages of their own.
    chunks = split_into_chunks(tokenized, replace(prediction, entities=None), prediction.embedding)
    common = copy_headers(record)
    origin = (
        *build_source_headers(record, model_name),
        ("gist-tokens", b"%d" % len(tokens)),
        ("gist-truncated", b"true" if tokens.truncated else b"false"),
        (CHUNKS_HEADER, b"%d" % len(chunks)),
    )
    messages = []
    for chunk in chunks:
        vector = build_embedding_fields(chunk.vector, encoding)
        value = {"id": chunk.tokenized.item.id, **vector, **added, **chunk.fields}
        event = build_event_headers(record, Output.EMBEDDINGS, marks=(model_name, str(chunk.number)))
        content = serialize(Output.EMBEDDINGS, record, value)
        messages.append(Message(Output.EMBEDDINGS, chunk.key, content, common + event + origin))
    return replace(others, messages=(*messages, *others.messages), num_chunks=len(chunks))


def encode_chunk_tombstones(record: Record, first: int, end: int, output: Output = Output.EMBEDDINGS) -> tuple[Message, ...]:
    """Return tombstones for the chunks `first` to `end - 1` of an earlier version of a record with a key."""
    common, origin = copy_headers(record), build_source_headers(record, None)
    return tuple(
        Message(
            output,
            build_chunk_key(record, number),
            None,
            common + build_event_headers(record, output, is_tombstone=True, marks=(str(number),)) + origin,
        )
        for number in range(first, end)
    )


def read_previous_chunks(record: Record) -> int:
    """Return the number of chunks of the earlier version, at most 256, from the header of the producer; 0 without a valid one."""
    written = read_headers(record.headers).get(PREVIOUS_HEADER, b"")
    return min(int(written), _MAX_CHUNKS) if written.isdigit() and len(written) <= _MAX_DIGITS else 0


def build_chunk_key(record: Record, number: int) -> bytes | None:
    """Return the key of the message of a chunk; None for a record without a key."""
    return None if record.key is None else record.key + b"#%d" % number

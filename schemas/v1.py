"""Version 1 of the wire contract: what producers send and what consumers get.

These models are the reference: the JSON Schema files beside this module are generated from them (`python -m schemas`), and the
tests hold every message that the worker writes against them. The worker itself reads and writes plain dictionaries, because
that is several times faster. Version 1 is additive: consumers ignore fields that they do not know; a change of meaning is
version 2.

Every output keeps the record's key and its headers, and carries those of `HEADERS`. A null header value stays null; among the names
that the worker reads, a null value counts as no header. Of the record's own headers three kinds do not come through:

* a header that begins with `gist-`: ours replace it, so that an output can be an input again;
* a header that describes the record's value, because the output has another value: `content-type` becomes `application/json`;
  `contentType`, `content-encoding`, `content-length` and the classes and schemas that Spring (`__TypeId__`, `__ContentTypeId__`,
  `__KeyTypeId__`, the same after `json`, `json_resolvableType`, `spring_json_header_types`), Axon (`axon-message-type`,
  `axon-message-revision`), Confluent (`__value_schema_id`), Cloudera (`value.schema.version.id`) and Apicurio (`apicurio.value.*`)
  write are left out, whatever the case of their letters. Headers about the key are kept;
* attributes of a CloudEvent in binary mode that belong to one event. Each output is an event of its own: `ce_id` is a UUID, the
  same when the output is published again, and differs by the input's `ce_source` and `ce_id`, the output and the model; `ce_type`
  is `gist-stream.<schema>.v1`, or `gist-stream.<schema>.tombstone.v1`; `ce_dataschema` is the `$id` of the schema file;
  `ce_causationid` is the `ce_id` of the input. `ce_source`, `ce_subject`, `ce_time` and extensions are kept. The outputs of an
  event in structured mode are plain messages, unless the record has the `ce_` headers too.

A dead letter's value holds all headers of the record, for the replay. A tombstone (a null value) passes through to every output
topic, with the headers that say where it came from.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Where an output came from; every output carries these, as UTF-8.
SOURCE_HEADERS = {
    "gist-source-topic": "The topic of the input record.",
    "gist-source-partition": "Its partition, decimal.",
    "gist-source-offset": "Its offset, decimal.",
    "gist-source-timestamp": "Its timestamp in milliseconds since the epoch, decimal; -1 where nobody stamped it.",
}
# What made it; on everything but a tombstone.
MODEL_HEADERS = {"gist-model": "The model, name@revision."}
# How its text was read; on results.
TEXT_HEADERS = {
    "gist-tokens": "The number of tokens of the text as the model read it, special tokens included, decimal; where a long text is "
    "read in windows, those where windows overlap count once.",
    "gist-truncated": "`true` where the text was longer than the model reads, in as many windows as it may, else `false`.",
}

# What a replay of dead letters writes on the input record that it sends again; producers have no use for them.
REPLAY_HEADERS = {
    "gist-attempt": "How often the record is being tried, decimal: 2 for the first replay.",
    "gist-due": "Where one task alone had failed: that one, for the others came out. Narrows what the record asks for.",
}

TaskName = Literal["embed", "classify", "ner"]
StageName = Literal["consume", "decode", "tokenize", "infer", "encode", "publish"]
Score = Annotated[float, Field(ge=0, le=1)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", json_schema_extra={"contentEncoding": "base64"})]


class _Input(BaseModel):
    """Fields that we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Result(BaseModel):
    """What the worker writes has no other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Input):
    """A text to process, as the JSON value of an input record.

    Besides this form, the input takes plain UTF-8 text with the header `content-type: text/plain`, and CloudEvents 1.0
    (structured, or binary with `ce_` headers) whose data is this object or a plain string; the event's id serves where the data
    has none. A null value is a tombstone and needs a key. The JSON is strict UTF-8 without a byte order mark, at most 1,024
    levels deep; of duplicate fields the last one counts. Sizes of value, headers, text and id are bounded by the worker's settings.
    """

    text: str = Field(min_length=1, description="The text; at least one visible character.")
    id: str | None = Field(
        default=None,
        min_length=1,
        description="Comes back in every output; any characters but control characters. "
        "Without it, the id is `topic-partition-offset`.",
    )
    tasks: list[TaskName] | None = Field(
        default=None,
        min_length=1,
        description="What to do with this text; all that the worker serves by default. What it does not serve is left "
        "to others, as long as it serves one of them. The header `tasks` (comma-separated; empty names are ignored) says the same; "
        "the field wins.",
    )


class Embedding(_Result):
    """The sentence vector of a text."""

    id: str = Field(description="The id of the input record.")
    embedding: list[float] | Base64 = Field(
        description="The unit-length vector: a list of numbers, or the base64 of its bytes, as `encoding` says.",
    )
    dim: int = Field(gt=0, description="The number of dimensions.")
    encoding: Literal["float", "float32", "float16", "int8", "binary"] = Field(
        description="`float`: a list of numbers. Else base64 of: `float32`, `float16`: little-endian numbers; `int8`: each "
        "number divided by `scale`, rounded; `binary`: one bit for each number, 1 where it is above zero, eight to a byte, the "
        "first in the highest bit.",
    )
    scale: float | None = Field(
        default=None,
        gt=0,
        description="With `int8`, what a step of 1 is worth: each number is its byte times `scale`. It differs from vector to "
        "vector; a cosine does not depend on it, a dot product does. 1/127 where it is missing.",
    )


class Label(_Result):
    """What one classification head says."""

    label: str = Field(description="The most probable label.")
    score: Score = Field(description="Its probability.")
    scores: dict[str, Score] = Field(
        description="The probability of every label of the head; they add up to one, unless a text may have several labels."
    )
    labels: list[str] | None = Field(
        default=None,
        description="Only from a head that gives any number of labels: those whose probability reaches its threshold, maybe none.",
    )


class Labels(_Result):
    """The labels of a text."""

    id: str = Field(description="The id of the input record.")
    labels: dict[str, Label] = Field(description="By the name of the head.")


class Entity(_Result):
    """One named entity."""

    type: str = Field(description="Its type, as the head was trained: PER, ORG, LOC.")
    text: str = Field(description="The characters of the original text from `start` to `end`.")
    start: int = Field(ge=0, description="Its first character, in code points of the original text.")
    end: int = Field(gt=0, description="The character after its last, in code points of the original text.")
    score: Score = Field(description="How sure the head is.")
    task: str = Field(description="The name of the head that found it.")


class Entities(_Result):
    """The named entities of a text, in text order."""

    id: str = Field(description="The id of the input record.")
    entities: list[Entity] = Field(description="Those of one head never overlap.")


class DeadLetterSource(_Result):
    """Where a dead letter came from."""

    topic: str = Field(description="The input topic.")
    partition: int = Field(ge=0, description="The input partition.")
    offset: int = Field(ge=0, description="The offset of the record, or the first of a range that could not be read.")
    next_offset: int = Field(gt=0, description="The offset after the last one that this letter stands for.")
    timestamp: int | None = Field(description="Milliseconds since the epoch; null where nobody stamped the record.")


class DeadLetterHeader(_Result):
    """One header of the record."""

    name: str = Field(description="Its name.")
    value: Base64 | None = Field(description="Its bytes; null where the header's value is null.")


class DeadLetter(_Result):
    """A record, or one task of it, that could not be processed, with what is needed to see why and to replay it."""

    source: DeadLetterSource = Field(description="Where the record stood.")
    stage: StageName = Field(description="The step that failed.")
    error: str = Field(description="The class of the error.")
    message: str = Field(description="What went wrong.")
    task: TaskName | None = Field(description="The task that failed; null where the whole record did.")
    attempts: int = Field(ge=1, description="How often the record was tried: once, and once for each time it was replayed.")
    model: str = Field(description="The model, name@revision.")
    key: Base64 | None = Field(description="The record's key.")
    headers: list[DeadLetterHeader] = Field(description="The record's headers, the first of them where they are too many.")
    payload: Base64 | None = Field(description="The record's value, or its beginning where `truncated`; null for none.")
    payload_bytes: int = Field(ge=0, description="The size of the whole value.")
    payload_sha256: str | None = Field(description="The SHA-256 of the whole value, in hexadecimal; null for none.")
    truncated: bool = Field(description="Whether key, headers or payload were cut: such a record cannot be replayed from here.")


MODELS: tuple[type[BaseModel], ...] = (Request, Embedding, Labels, Entities, DeadLetter)
# The headers that come with each of them.
HEADERS: dict[type[BaseModel], dict[str, str]] = {
    Embedding: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    Labels: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    Entities: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    DeadLetter: SOURCE_HEADERS | MODEL_HEADERS,
}

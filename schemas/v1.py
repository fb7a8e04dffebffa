"""Version 1 of the wire contract: the records that producers send and that consumers receive.

These models are the reference. `python -m schemas` generates the JSON Schema files and the tables of docs/use/wire-contract.md from
them, and the tests validate every message of the worker against them. The worker itself reads and writes plain dictionaries,
because plain dictionaries are several times faster. Version 1 is additive: consumers ignore unknown fields. A new meaning of a
field is version 2.

docs/use/wire-contract.md says which headers of a record its outputs keep.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.vectors import decode_numbers

# The origin of an output. Every output has these headers, as UTF-8.
SOURCE_HEADERS = {
    "gist-source-topic": "The topic of the input record.",
    "gist-source-partition": "The partition of the input record, decimal.",
    "gist-source-offset": "The offset of the input record, decimal.",
    "gist-source-timestamp": "The timestamp of the input record in milliseconds since the epoch, decimal; -1 for none.",
}
# The model. Every output but a tombstone has this header.
MODEL_HEADERS = {"gist-model": "The model, as `name@revision`; with commas if several encoders made the output."}
# The length of the text. Every output but a tombstone and a dead letter has these headers.
TEXT_HEADERS = {
    "gist-tokens": "The number of tokens that the model read, special tokens included, decimal. Tokens in the overlap of two "
    "windows count once.",
    "gist-truncated": "`true` if the model did not read the end of the text, else `false`.",
}

# The headers that a replay of dead letters adds to the input record. Producers do not set them.
REPLAY_HEADERS = {
    "gist-attempt": "The number of this attempt, decimal: 2 for the first replay.",
    "gist-replay-task": "The task to repeat, if a single task had failed.",
}

TaskName = Literal["embed", "classify", "ner"]
StageName = Literal["consume", "decode", "tokenize", "infer", "encode", "publish"]
Score = Annotated[float, Field(ge=0, le=1)]
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", json_schema_extra={"contentEncoding": "base64"})]


class _Input(BaseModel):
    """A record of a producer; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Result(BaseModel):
    """A record of the worker; it has no other fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Input):
    """A text to process, as the JSON value of an input record.

    An input record may also be plain UTF-8 text with the header `content-type: text/plain`, or a CloudEvent 1.0 (structured, or
    binary with `ce_` headers) whose data is this object or a string. The id of the event is the id of the record if the data has
    none. The worker reads other objects, too, also those of Kafka Connect and Debezium: docs/use/input.md describes the settings.
    A null value is a tombstone and needs a key. The JSON is strict UTF-8 without a byte order mark, at most 1,024 levels
    deep. The last of several fields with one name counts. Settings of the worker bound the sizes of value, headers, text and id.
    """

    text: str = Field(min_length=1, description="The text, with at least one visible character.")
    id: Annotated[str, Field(min_length=1)] | int | None = Field(
        default=None,
        description="The id that every output has, without control characters. The digits of an integer are the id. The default is "
        "`topic-partition-offset`.",
    )
    tasks: list[TaskName] | None = Field(
        default=None,
        min_length=1,
        description="The tasks for this text. The default is all tasks of the worker. The worker ignores a task that it does not "
        "serve, and refuses a record without a task that it serves. The header `tasks` (comma-separated, empty names ignored) has "
        "the same meaning; the field wins.",
    )


class Source(_Result):
    """The origin of an output."""

    topic: str = Field(description="The input topic.")
    partition: int = Field(ge=0, description="The input partition.")
    offset: int = Field(ge=0, description="The offset of the input record.")
    timestamp: int | None = Field(description="The timestamp of the record in milliseconds since the epoch; null for none.")


class _Output(_Result):
    """A value with a model and a source, if `GIST_ORIGIN_IN_VALUES` is set."""

    model: str | None = Field(default=None, description="The model, as `name@revision`, if `GIST_ORIGIN_IN_VALUES` is set.")
    source: Source | None = Field(default=None, description="The origin, if `GIST_ORIGIN_IN_VALUES` is set.")


class _Chunk(_Result):
    """The fields of a chunk of a text, with `GIST_LONG_TEXT=chunks`."""

    parent: str | None = Field(default=None, description="The id of the input record, if the vector is that of a chunk.")
    number: int | None = Field(default=None, ge=0, description="The number of the chunk, from 0.")
    count: int | None = Field(default=None, ge=1, description="The number of chunks of the text.")
    start: int | None = Field(default=None, ge=0, description="The index of the first character of the chunk, in code points.")
    end: int | None = Field(default=None, ge=0, description="The index after the last character of the chunk, in code points.")


class Embedding(_Output, _Chunk):
    """The sentence vector of a text, or of a chunk of a text with `GIST_LONG_TEXT=chunks`."""

    id: str = Field(description="The id of the input record; `<id>#<number>` for a chunk.")
    embedding: list[float] | Base64 = Field(
        description="The vector, normalised as published: an array of numbers or the base64 of its bytes, according to `encoding`.",
    )
    dim: int = Field(gt=0, description="The number of dimensions.")
    encoding: Literal["float", "float32", "float16", "int8", "binary"] = Field(
        description="`float`: an array of numbers. The others are base64. `float32`, `float16`: little-endian numbers. `int8`: "
        "each number divided by `scale` and rounded. `binary`: one bit for each number, 1 if the number is above zero, eight bits "
        "in a byte, the first number in the highest bit.",
    )
    scale: float | None = Field(
        default=None,
        gt=0,
        description="The scale of `int8`: each number is its byte times `scale`. The scale differs from vector to vector. A cosine "
        "does not depend on the scale, a dot product does. The default is 1/127.",
    )

    def numbers(self) -> list[float]:
        """Return the vector from any encoding; the numbers of `binary` are -1 and 1.

        Raises `ValueError` if the content does not have `dim` numbers. Needs only the standard library.
        """
        return decode_numbers(self.embedding, self.encoding, dim=self.dim, scale=self.scale or 1 / 127)


class Label(_Result):
    """The output of one classification head."""

    label: str = Field(description="The most probable label.")
    score: Score = Field(description="The probability of that label.")
    scores: dict[str, Score] = Field(
        description="The probability of every label. The sum is 1, unless a text may have several labels."
    )
    labels: list[str] | None = Field(
        default=None,
        description="The labels whose probability reaches the threshold. Only a head for several labels has this field.",
    )


class Labels(_Output):
    """The labels of a text."""

    id: str = Field(description="The id of the input record.")
    labels: dict[str, Label] = Field(description="The output of each head, by the name of the head.")
    values: dict[str, dict[str, float]] | None = Field(
        default=None,
        description="The numbers of the heads for regression, by the name of the head and by label. `labels` does not contain "
        "these heads. Only a model with such a head has this field.",
    )


class Entity(_Result):
    """One named entity."""

    type: str = Field(description="The type of the entity, for example PER, ORG or LOC.")
    text: str = Field(description="The characters of the original text from `start` to `end`.")
    start: int = Field(ge=0, description="The index of the first character, in code points of the original text.")
    end: int = Field(gt=0, description="The index after the last character, in code points of the original text.")
    score: Score = Field(description="The mean probability of the labels of its words.")
    task: str = Field(description="The name of the head that found it.")


class Entities(_Output):
    """The named entities of a text, in text order."""

    id: str = Field(description="The id of the input record.")
    entities: list[Entity] = Field(description="The entities, in text order. Entities of one head do not overlap.")


class Results(_Result):
    """All results of a text. A task that the record does not request has no field."""

    embedding: list[float] | Base64 | None = Field(default=None, description="The vector, as in the topic of embeddings.")
    dim: int | None = Field(default=None, gt=0, description="The number of dimensions.")
    encoding: Literal["float", "float32", "float16", "int8", "binary"] | None = Field(
        default=None, description="The encoding of the vector, as in the topic of embeddings."
    )
    scale: float | None = Field(default=None, gt=0, description="The scale of the encoding `int8`.")
    labels: dict[str, Label] | None = Field(default=None, description="The output of each head, by the name of the head.")
    values: dict[str, dict[str, float]] | None = Field(default=None, description="The numbers of the heads for regression.")
    entities: list[Entity] | None = Field(default=None, description="The entities, in text order.")
    model: str = Field(description="The model, as `name@revision`.")
    tokens: int = Field(ge=0, description="The number of tokens that the model read, special tokens included.")
    truncated: bool = Field(description="Whether the model did not read the end of the text.")
    source: Source | None = Field(default=None, description="The origin, if `GIST_ORIGIN_IN_VALUES` is set.")


class Enriched(BaseModel):
    """The object of the input record with its results, in the layout `enriched`.

    `GIST_RESULT_FIELD` names the field of the results; `gist` is the default. The other fields are those of the input. A number of
    more than 64 bits may lose digits. An input of plain text is an object with the field `text`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    gist: Results = Field(description="The results.")


class Flat(_Chunk):
    """All results of a text, or of a chunk of a text, without nested objects, in the layout `flat`."""

    id: str = Field(description="The id of the input record; `<id>#<number>` for a chunk.")
    text: str = Field(description="The text, or that of the chunk. Entities have their places in this text.")
    embedding: list[float] | Base64 | None = Field(default=None, description="The vector, as in the topic of embeddings.")
    dim: int | None = Field(default=None, gt=0, description="The number of dimensions.")
    encoding: Literal["float", "float32", "float16", "int8", "binary"] | None = Field(
        default=None, description="The encoding of the vector, as in the topic of embeddings."
    )
    scale: float | None = Field(default=None, gt=0, description="The scale of the encoding `int8`.")
    labels: str | None = Field(default=None, description="The output of each head by its name, as a string of JSON.")
    values: str | None = Field(default=None, description="The numbers of the heads for regression, as a string of JSON.")
    entities: str | None = Field(default=None, description="The entities, as a string of JSON.")
    model: str = Field(description="The model, as `name@revision`.")
    tokens: int = Field(ge=0, description="The number of tokens that the model read, special tokens included.")
    truncated: bool = Field(description="Whether the model did not read the end of the text.")


class QdrantPoint(_Result):
    """A point for Qdrant's Kafka connector, in the layout `qdrant`."""

    collection_name: str = Field(description="The collection: `GIST_QDRANT_COLLECTION`, or the input topic.")
    id: int | str = Field(
        description="The id of the point: the number or the UUID that is the record's id, or a UUID that is derived from the id."
    )
    vector: list[float] = Field(description="The vector of unit length.")
    payload: dict[str, Any] = Field(
        description="The fields of the input, the `id` of the record or chunk, and labels, entities and model in "
        "`GIST_RESULT_FIELD`. For a chunk the field also has the text of the chunk, `parent`, `number`, `count`, `start` and `end`."
    )


class DeadLetterSource(_Result):
    """The origin of a dead letter."""

    topic: str = Field(description="The input topic.")
    partition: int = Field(ge=0, description="The input partition.")
    offset: int = Field(ge=0, description="The offset of the record, or the first of a range that could not be read.")
    next_offset: int = Field(gt=0, description="The offset after the last offset of the dead letter.")
    timestamp: int | None = Field(description="The timestamp of the record in milliseconds since the epoch; null for none.")


class DeadLetterHeader(_Result):
    """One header of the record."""

    name: str = Field(description="The name of the header.")
    value: Base64 | None = Field(description="The bytes of the value; null for a null value.")


class DeadLetter(_Result):
    """A record, or one task of a record, that could not be processed, with the reason and the data for a replay."""

    source: DeadLetterSource = Field(description="The origin of the record.")
    stage: StageName = Field(description="The step that failed.")
    error: str = Field(description="The class of the error.")
    message: str = Field(description="The reason, in one line.")
    task: TaskName | None = Field(description="The task that failed; null if the whole record failed.")
    attempts: int = Field(ge=1, description="The number of attempts: one, and one for each replay.")
    model: str = Field(description="The model, as `name@revision`.")
    key: Base64 | None = Field(description="The record's key.")
    headers: list[DeadLetterHeader] = Field(description="The headers of the record; the first ones if the record has too many.")
    payload: Base64 | None = Field(description="The value of the record, or its beginning if `truncated`; null for a null value.")
    payload_bytes: int = Field(ge=0, description="The size of the whole value.")
    payload_sha256: str | None = Field(description="The SHA-256 of the whole value, in hexadecimal; null for none.")
    truncated: bool = Field(description="Whether key, headers or payload were cut. Such a record cannot be replayed.")


MODELS: tuple[type[BaseModel], ...] = (Request, Embedding, Labels, Entities, DeadLetter, Enriched, Flat, QdrantPoint)
# The headers of the messages of each model.
HEADERS: dict[type[BaseModel], dict[str, str]] = {
    Embedding: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    Labels: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    Entities: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    DeadLetter: SOURCE_HEADERS | MODEL_HEADERS,
    Enriched: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    Flat: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
    QdrantPoint: SOURCE_HEADERS | MODEL_HEADERS | TEXT_HEADERS,
}

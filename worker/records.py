"""The nouns that travel through the worker, in the order in which they come to be.

    Record ──decode──▶ Item ──tokenize──▶ TokenizedItem ──batch──▶ Batch ──infer──▶ Prediction ──encode──▶ Outcome

What travels knows where it came from: everything reaches back to its `Record`, and `next_offset`, the offset to commit once
a record is done, is a property, so that the +1 is written once. All of them are immutable, and none of them knows Kafka's
client, torch or the wire format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


# Names and values in order; a name may come several times, and a value may be null.
Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


class Task(StrEnum):
    """What a record may ask of the model; the value is its name on the wire."""

    EMBED = "embed"
    CLASSIFY = "classify"
    NER = "ner"


class Output(StrEnum):
    """Where a message goes; the value is the suffix of the default topic name, `<input>.<suffix>`."""

    EMBEDDINGS = "embeddings"
    LABELS = "labels"
    ENTITIES = "entities"
    DEAD_LETTERS = "dlq"


class Stage(StrEnum):
    """Where a record failed, as its dead letter says; the steps of the flow by name."""

    CONSUME = "consume"
    DECODE = "decode"
    TOKENIZE = "tokenize"
    INFER = "infer"
    ENCODE = "encode"
    PUBLISH = "publish"


OUTPUT_OF_TASK: Mapping[Task, Output] = {
    Task.EMBED: Output.EMBEDDINGS,
    Task.CLASSIFY: Output.LABELS,
    Task.NER: Output.ENTITIES,
}
TASK_OF_OUTPUT: Mapping[Output, Task] = {output: task for task, output in OUTPUT_OF_TASK.items()}


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One partition of one input topic: the unit of order, of assignment and of commit."""

    topic: str
    index: int

    def __str__(self) -> str:
        """Return `topic-index`, as Kafka's own tools print it."""
        return f"{self.topic}-{self.index}"


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it came from the input topic: bytes, untouched. A value of None is a tombstone."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    #: Milliseconds since the epoch, as the producer or the broker stamped it; -1 where neither did.
    timestamp_ms: int = -1

    @property
    def next_offset(self) -> int:
        """The offset to commit once this record is done."""
        return self.offset + 1

    @property
    def size_bytes(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """Offsets that the client could not read (corrupt batch, header key that is not UTF-8): parked as one dead letter."""

    partition: Partition
    offset: int
    next_offset: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class EmptyRange:
    """Offsets without a readable record: transaction markers, aborted records, records that compaction removed.

    The offset after the range is committed like that of a record. Otherwise the range counts as lag for ever.
    """

    partition: Partition
    offset: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class Item:
    """A decoded record: a text, and what is asked of it."""

    record: Record
    id: str
    text: str
    tasks: frozenset[Task]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record with a null value: it passes through to every output topic and costs no forward pass."""

    record: Record


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a long text that the model reads as a sequence of its own, between special tokens: places in `Tokens.ids`."""

    #: Its first token, and the one after its last.
    start: int
    end: int
    #: Of the text's tokens, special tokens included, those that are read from this window: each from exactly one.
    read_start: int
    read_end: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenized text, special tokens included."""

    #: Vocabulary ids, int32, shape `[length]`.
    ids: NDArray[np.int32]
    #: Code-point offsets `[start, end)` into the original text, int32, shape `[length, 2]`; `(0, 0)` for special tokens.
    spans: NDArray[np.int32]
    #: For each token the index of its word, int32, shape `[length]`; -1 for special tokens.
    words: NDArray[np.int32]
    #: True where the text was longer than the model reads.
    truncated: bool
    #: How a text is read that is longer than the model reads at once; empty for a text that is not.
    windows: tuple[Window, ...] = ()
    #: The name of the model whose vocabulary this is, and that alone can read it.
    model: str = ""

    def __len__(self) -> int:
        """Return the number of tokens; those where windows overlap count once."""
        return len(self.ids)

    def truncate(self, num_tokens: int) -> Tokens:
        """Return the first so many tokens, to be read at once."""
        own = slice(num_tokens)
        return Tokens(self.ids[own], self.spans[own], self.words[own], truncated=True, model=self.model)

    @property
    def weight(self) -> int:
        """What a forward pass pays for the text: its tokens, or those of its windows, each with its own special tokens."""
        return len(self.ids) if not self.windows else sum(it.end - it.start + 2 for it in self.windows)


@dataclass(frozen=True, slots=True)
class TokenizedItem:
    """An item ready for the model. Its weight is what the forward pass pays for it."""

    item: Item
    tokens: Tokens

    @property
    def weight(self) -> int:
        """Tokens, special tokens included."""
        return self.tokens.weight


@dataclass(frozen=True, slots=True)
class Classification:
    """What one classification head says of a text."""

    label: str
    #: The probability of `label`, in [0, 1].
    score: float
    #: The probability of every label of the head.
    scores: Mapping[str, float]
    #: Of a head that gives any number of labels, those that it gives; None for one that gives one.
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """A named entity; `start` and `end` are code points of the original text, `text == original[start:end]`."""

    type: str
    text: str
    start: int
    end: int
    score: float
    #: The name of the head that found it.
    task: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record, or one task of it, has no result: what a dead letter says."""

    stage: Stage
    error: str
    message: str
    #: The task that failed; None where the whole record did.
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's answer for one item. A task that was not asked for, or that failed, is None."""

    #: Unit-length sentence vector, float32, shape `[hidden]`.
    embedding: NDArray[np.float32] | None = None
    #: By head name.
    labels: Mapping[str, Classification] | None = None
    #: In text order, never overlapping within one head.
    entities: tuple[Entity, ...] | None = None
    #: Tasks that failed for this item alone; the others are published.
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one output topic, ready to send. A value of None is a tombstone."""

    output: Output
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    #: Bytes of key, value and headers, without the protocol's own overhead.
    size_bytes: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Take the size once: it is asked for several times."""
        size_bytes = len(self.key or b"") + len(self.value or b"") + _num_bytes_of(self.headers)
        object.__setattr__(self, "size_bytes", size_bytes)


@lru_cache(maxsize=1)
def _num_bytes_of(headers: Headers) -> int:
    """Return the bytes of names and values; the messages of a record come one after the other, and have the same headers."""
    return sum([len(name if name.isascii() else name.encode()) + len(value or b"") for name, value in headers])


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one record: what is published for it, and the offset to commit after that."""

    source: Record | UnreadableRange | EmptyRange
    messages: tuple[Message, ...] = ()
    #: What the dead letters among the messages stand for.
    failures: tuple[Failure, ...] = ()

    @property
    def partition(self) -> Partition:
        """The input partition, whose number the output messages keep where the output topic has as many."""
        return self.source.partition

    @property
    def offset(self) -> int:
        """The input offset."""
        return self.source.offset

    @property
    def next_offset(self) -> int:
        """The offset to commit once every message is acknowledged."""
        return self.source.next_offset

"""The values that pass through the worker, in the order of the flow.

    Record ──decode──▶ Item ──tokenize──▶ TokenizedItem ──batch──▶ Batch ──infer──▶ Prediction ──encode──▶ Outcome

Each value contains the `Record` of its origin. `next_offset` is the offset to commit after a record. All values are immutable and
independent of aiokafka, torch and the wire format.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

# Names and values in order. A name may occur several times, and a value may be null.
Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


class Task(StrEnum):
    """A task of the model; the value is its name on the wire."""

    EMBED = "embed"
    CLASSIFY = "classify"
    NER = "ner"


class Output(StrEnum):
    """The output of a message; the value is the suffix of the default topic name, `<input>.<suffix>`."""

    EMBEDDINGS = "embeddings"
    LABELS = "labels"
    ENTITIES = "entities"
    DEAD_LETTERS = "dlq"
    ENRICHED = "enriched"
    FLAT = "flat"
    QDRANT = "qdrant"


class Stage(StrEnum):
    """The step in which a record failed, as in its dead letter."""

    CONSUME = "consume"
    DECODE = "decode"
    TOKENIZE = "tokenize"
    INFER = "infer"
    ENCODE = "encode"
    PUBLISH = "publish"


OUTPUT_OF_TASK: Mapping[Task, Output] = {Task.EMBED: Output.EMBEDDINGS, Task.CLASSIFY: Output.LABELS, Task.NER: Output.ENTITIES}
#: The outputs of the layout `split`: one for each task, and the dead letters.
SPLIT_OUTPUTS = (*OUTPUT_OF_TASK.values(), Output.DEAD_LETTERS)
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
    """One message of the input topic, unchanged. A value of None is a tombstone."""

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    #: Milliseconds since the epoch, from the producer or the broker; -1 for none.
    timestamp_ms: int = -1

    @property
    def next_offset(self) -> int:
        """The offset to commit after this record."""
        return self.offset + 1

    @property
    def size_bytes(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class UnreadableRange:
    """Offsets that aiokafka could not read (corrupt batch, header key that is not UTF-8). One dead letter stands for them."""

    partition: Partition
    offset: int
    next_offset: int
    error: str
    message: str


@dataclass(frozen=True, slots=True)
class EmptyRange:
    """Offsets without a readable record (markers, aborted, compacted), committed because they would count as lag for ever."""

    partition: Partition
    offset: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class Item:
    """A decoded record: a text and its tasks."""

    record: Record
    id: str
    text: str
    tasks: frozenset[Task]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A record with a null value. Every output topic gets a tombstone, without a forward pass."""

    record: Record


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a long text that the model reads as one sequence with special tokens and prompt; bounds are places in `ids`."""

    #: The first token, and the token after the last.
    start: int
    end: int
    #: The tokens whose outputs come from this window. Each token of the text, special tokens included, belongs to one window.
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
    #: Whether the end of the text was cut.
    truncated: bool
    #: The windows of a text above the model's maximum length; empty for a shorter text.
    windows: tuple[Window, ...] = ()
    #: The number of tokens of the prompt, which follow the opening special token and begin every window.
    num_prompt: int = 0
    #: The name of the model whose tokenizer made the tokens.
    model: str = ""
    #: The prompt of a query; None for the prompt of the stream.
    prompt: str | None = None

    def __len__(self) -> int:
        """Return the number of tokens. Tokens in the overlap of two windows count once."""
        return len(self.ids)

    def truncate(self, size: int) -> Tokens:
        """Return the first `size` tokens, without windows."""
        return replace(self, ids=self.ids[:size], spans=self.spans[:size], words=self.words[:size], truncated=True, windows=())

    @property
    def weight(self) -> int:
        """The tokens of the forward pass: of the text, or of all windows with their special tokens."""
        if not self.windows:
            return len(self.ids)
        return sum(window.end - window.start + self.num_prompt + 2 for window in self.windows)


@dataclass(frozen=True, slots=True)
class TokenizedItem:
    """An item ready for the model."""

    item: Item
    tokens: Tokens

    @property
    def weight(self) -> int:
        """The tokens of the forward pass, special tokens included."""
        return self.tokens.weight


@dataclass(frozen=True, slots=True)
class Classification:
    """The output of one classification head for a text."""

    label: str
    #: The probability of `label`, in [0, 1].
    score: float
    #: The probability of every label of the head.
    scores: Mapping[str, float]
    #: The labels above the threshold of a multi-label head; None for other heads.
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class PredictedEntity:
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
    """The reason for which a record, or one of its tasks, has no result."""

    stage: Stage
    error: str
    message: str
    #: The task that failed; None if the whole record failed.
    task: Task | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """The model's output for one item. A task that was not requested, or that failed, is None."""

    #: Unit-length sentence vector, float32, shape `[hidden]`.
    embedding: NDArray[np.float32] | None = None
    #: By head name.
    labels: Mapping[str, Classification] | None = None
    #: In text order. Entities of one head do not overlap.
    entities: tuple[PredictedEntity, ...] | None = None
    #: Tasks that failed for this item alone; the others are published.
    failures: tuple[Failure, ...] = ()
    #: The numbers of heads for regression, by head name and label; None without such a head.
    values: Mapping[str, Mapping[str, float]] | None = None
    #: The vectors of the windows of a long text, float32, shape `[windows, hidden]`; None for a shorter text.
    window_vectors: NDArray[np.float32] | None = None


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
        """Compute the size once, because it is read several times."""
        size_bytes = len(self.key or b"") + len(self.value or b"") + _count_bytes(self.headers)
        object.__setattr__(self, "size_bytes", size_bytes)


@lru_cache(maxsize=1)
def _count_bytes(headers: Headers) -> int:
    """Return the bytes of names and values. The cache serves the messages of one record, which share their headers."""
    return sum([len(name if name.isascii() else name.encode()) + len(value or b"") for name, value in headers])


@dataclass(frozen=True, slots=True)
class Outcome:
    """The messages to publish for a record, and the offset to commit after them. A skipped record has a reason and no messages."""

    source: Record | UnreadableRange | EmptyRange
    messages: tuple[Message, ...] = ()
    #: The failures of the dead letters among the messages.
    failures: tuple[Failure, ...] = ()
    skip_reason: str | None = None
    #: The number of chunks of the text, 0 for a tombstone; None if embeddings are not published in chunks.
    num_chunks: int | None = None

    @property
    def partition(self) -> Partition:
        """The input partition. Outputs go to the partition with the same index if the output topic has one."""
        return self.source.partition

    @property
    def offset(self) -> int:
        """The input offset."""
        return self.source.offset

    @property
    def next_offset(self) -> int:
        """The offset to commit once every message is acknowledged."""
        return self.source.next_offset

"""The interfaces between the flow and the outside: source, delivery and models.

`worker.broker`, `worker.model` and the fakes of the tests implement them. `worker.composition` passes the
implementations in, so that the flow imports neither aiokafka nor torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from worker.batches import LIVE_PASS, PassContext

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from worker.records import (
        EmptyRange,
        Item,
        Outcome,
        Output,
        Partition,
        Prediction,
        Record,
        Task,
        TokenizedItem,
        Tokens,
        UnreadableRange,
    )
    from worker.wire.content import RecordForm


class AssignmentListener(Protocol):
    """Receives the rebalances of the consumer group. The source calls the methods in the event loop."""

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Accept partitions, which are paused. Returns at once, because no heartbeat is sent during the call."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """Drain partitions within a bound. Another member owns them after the return."""

    async def lost(self, partitions: Collection[Partition]) -> None:
        """Drop the work of partitions at once: another member may own them already. May come during a revocation."""


class Source(Protocol):
    """A member of the consumer group."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group. Raises `FatalError` if no broker answers."""

    async def poll(self, partitions: Collection[Partition], *, max_records: int) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return the records that have arrived for these partitions, in order and without a gap in each partition.

        Offsets without a record after the last record are an `EmptyRange`. The call waits for a short, bounded time and
        may return nothing. The other partitions stay assigned and lose no record: that is backpressure. The flow polls
        all the time, if need be without partitions. Raises `ConsumerBroken` if the consumer must be replaced.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset`. Raises `PublishFailed` if the partition is no longer assigned."""

    def pause(self, partition: Partition) -> None:
        """Return no more records of a partition until the next `seek`."""

    def lag(self) -> Mapping[Partition, int]:
        """Return the number of records between the read position and the end of each assigned partition, as of the last fetch.

        The end is the last stable offset: records of an open transaction do not count.
        """

    async def stop(self) -> None:
        """Leave the group. Neither drains nor commits."""


class Schemas(Protocol):
    """The schemas of a registry. The calls come from the event loop."""

    @property
    def form(self) -> RecordForm:
        """The form that reads records with the loaded schemas, in any thread."""

    def has_schemas(self, record: Record) -> bool:
        """Return whether every schema of a record is loaded, or is known to be missing."""

    async def load(self, record: Record) -> None:
        """Load the schemas of a record; return when all are loaded. Waits as long as no registry answers."""


class Delivery(Protocol):
    """Publishes the outputs of finished records, at least once or exactly once."""

    async def start(self) -> None:
        """Connect. Raises `FatalError` if no broker answers or an output topic is missing."""

    async def open(self, partition: Partition) -> int:
        """Prepare to publish for `partition` and return the offset to read from."""

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish the messages of a finished prefix in order; return when every message is acknowledged.

        Raises `RecordRefused` if the broker never accepts one of the messages; other messages may be visible then. Raises
        `PublishFailed` if the result is unknown; the session must end then.
        """

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Commit the published offsets of these open partitions that are not committed yet. Raises `PublishFailed`."""

    async def forget(self, partition: Partition) -> None:
        """End the work for `partition`: `commit` no longer commits its offset."""

    async def refresh_limits(self) -> None:
        """Read the limits of the output topics again if they are older than a few seconds. Keeps the old limits on failure."""

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest `Message.size_bytes` that the topic of an output accepts."""

    def needs_key(self, output: Output) -> bool:
        """Return whether the topic of an output refuses a message without a key."""

    async def stop(self) -> None:
        """Disconnect within a bound, even if the broker does not answer."""


class ModelRouter(Protocol):
    """Selects the model of each record. During a rollout the model depends on the offset or the timestamp of the record.

    `tokenize` and `infer` block and are called from threads; `tokenize` from one thread at a time.
    """

    #: The number of threads that may call `infer` at the same time.
    max_passes: int
    #: The encoders that share the records, each with batches of its own; 0 if every record has one encoder.
    num_encoders: int

    async def wait_until_loaded(self, items: Sequence[Item]) -> None:
        """Return when the models of these items are loaded, or failed to load."""

    def tokenize(self, items: Sequence[Item]) -> list[Tokens]:
        """Tokenize each text with the tokenizer of its model; with several encoders, the result is a `JointTokens`."""

    def infer(self, items: Sequence[TokenizedItem], context: PassContext) -> list[Prediction]:
        """Run a forward pass of each model of these items; return a prediction for each item, in order."""

    def list_loaded(self) -> list[ServedModel]:
        """Return the loaded models; the first is the model of the newest records."""

    def name_for(self, source: Record | UnreadableRange) -> str:
        """Return the name of the model of a record, `name@revision`."""


class ServedModel(Protocol):
    """A model of texts. The methods block and are called from threads; `tokenize` from one thread at a time."""

    #: `name@revision`, for the headers of the outputs.
    name: str
    #: The tasks that the model serves. `embed` needs no head.
    tasks: frozenset[Task]
    #: The longest text of one forward pass, or the longest window of a text, in tokens.
    max_tokens: int
    #: The number of threads that may call `infer` at the same time.
    max_passes: int

    def warm_up(self) -> None:
        """Run the first forward passes, which are slow. Raises `BadModel` if a pass fails."""

    def tokenize(self, texts: Sequence[str], prompt: str | None = None) -> list[Tokens]:
        """Tokenize texts, with special tokens. A text above `max_tokens` is truncated or split into windows.

        `prompt` is the name of a prompt of the model or the prompt itself; None for the prompt of the stream. Raises
        `InvalidRecord` for a prompt that the model does not have.
        """

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass and return a prediction for each item, in order.

        A background pass may run at the same time as `max_passes` live ones, and yields to them.

        A head that fails on one item is a `Failure` in the prediction of the item. An exception means that the whole pass failed:
        the caller may try again with fewer items.
        """

"""What the pipeline needs of the world, and nothing more: three small protocols.

The broker room and the model room satisfy them; the tests' fakes do too. The composition root (`cli`) hands them in, so that
the pipeline imports neither Kafka's client nor torch.
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


class AssignmentListener(Protocol):
    """Whom the source tells about its partitions. Both calls are made from the event loop, one at a time."""

    def assigned(self, partitions: Collection[Partition]) -> None:
        """These are ours now, and paused. Returns at once: no heartbeat leaves while it runs."""

    async def revoked(self, partitions: Collection[Partition]) -> None:
        """These go to another member when this returns: drain them, within a bound."""


class Source(Protocol):
    """One member of the consumer group."""

    async def start(self, listener: AssignmentListener) -> None:
        """Join the group. Raises `Stop` where no broker answers."""

    async def poll(self, partitions: Collection[Partition], *, max_records: int) -> Sequence[Record | UnreadableRange | EmptyRange]:
        """Return what has arrived for these partitions, in order and without a gap in each of them, or nothing.

        Offsets without a record after the last record are an `EmptyRange`.
        Waits a short, bounded time. Partitions that are left out stay assigned and lose nothing: that is backpressure.
        Must be called again and again, even with no partitions. Raises `ConsumerBroken` where the consumer can't go on.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """Read a partition from `offset`. Raises `PublishFailed` if the partition is no longer assigned."""

    def pause(self, partition: Partition) -> None:
        """Return no more records of a partition until the next `seek`."""

    def lag(self) -> Mapping[Partition, int]:
        """Return the records between our position and the end of each assigned partition, as last heard from the broker.

        The end is that of a reader of committed records: records of an open transaction do not count.
        """

    async def stop(self) -> None:
        """Leave the group. Neither drains nor commits."""


class Delivery(Protocol):
    """How finished records become visible: at least once or exactly once, and nobody else knows which."""

    async def start(self) -> None:
        """Connect. Raises `Stop` where no broker answers or an output topic is missing."""

    async def open(self, partition: Partition) -> int:
        """Prepare to publish for `partition` and return the offset to read from."""

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish the messages of a finished prefix, in order; returns once every one is acknowledged.

        Raises `RecordRefused` where the broker will never take one of them (of these outcomes, then, some may be visible
        already), and `PublishFailed` where the outcome is unknown: the session must end then.
        """

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Commit what was published of these open partitions, as far as that is not yet done. Raises `PublishFailed`."""

    async def forget(self, partition: Partition) -> None:
        """End the work for `partition`: `commit` no longer commits its offset."""

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest `Message.size_bytes` that this output accepts."""

    def needs_key(self, output: Output) -> bool:
        """Tell whether this output refuses a message without a key."""

    async def stop(self) -> None:
        """Disconnect, within a bound, whatever the broker does."""


class ModelRouter(Protocol):
    """Which model reads a record: always the same, or, while one is rolled out, the old below a place and the new from there on.

    `tokenize` and `infer` block and are called from threads, `tokenize` from one at a time.
    """

    #: From how many threads at a time `infer` may be called.
    max_passes: int

    async def wait_until_loaded(self, items: Sequence[Item]) -> None:
        """Return once the models that these go to can tokenize them."""

    def tokenize(self, items: Sequence[Item]) -> list[Tokens]:
        """Tokenize each text for the model that it goes to."""

    def infer(self, items: Sequence[TokenizedItem], context: PassContext) -> list[Prediction]:
        """Run a forward pass of each model that has tokenized some of these, and return a prediction for each item, in order."""

    def name_for(self, source: Record | UnreadableRange) -> str:
        """Return the name of the model that a record goes to, `name@revision`."""


class ServedModel(Protocol):
    """Texts in, plain values out. Both methods block and are called from threads, `tokenize` from one at a time."""

    #: `name@revision`, as the outputs' headers carry it.
    name: str
    #: The tasks that it has heads for (`embed` needs none).
    tasks: frozenset[Task]
    #: What it reads at once, in tokens: the longest text, or the longest window of one.
    max_tokens: int
    #: From how many threads at a time `infer` may be called.
    max_passes: int

    def warm_up(self) -> None:
        """Do what is done once, so that the first record does not pay for it. Raises `BadModel` where it does not work."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize, with special tokens; what is longer than `max_tokens` is truncated, or planned to be read in windows."""

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass and return a prediction for each item, in order.

        A background pass may run at the same time as `max_passes` live ones, and yields to them.

        A head that fails on one item is a `Failure` in that item's prediction. An exception means that the pass as a whole
        failed: the caller may try again with fewer items.
        """

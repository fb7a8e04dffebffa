"""All accesses to private attributes of aiokafka's clients, outside `worker.broker.patches`.

aiokafka 0.14 has no public function for any of them. `tests/broker/test_client_internals.py` fails if a release changes them.
"""
# ruff: noqa: SLF001  this module gathers the accesses to private attributes

from __future__ import annotations

import asyncio
import contextlib
import copy
from typing import TYPE_CHECKING, Any

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.conn import CloseReason
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.consumer.group_coordinator import NoGroupCoordinator
from aiokafka.errors import KafkaError

from worker.broker.timeouts import with_timeout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.client import AIOKafkaClient
    from aiokafka.structs import OffsetAndMetadata

# How often a background task is cancelled before it is left behind.
_MAX_CANCELLATIONS = 3


def get_network_client(client: AIOKafkaConsumer | AIOKafkaAdminClient) -> AIOKafkaClient:
    """Return the client that sends requests, for requests that aiokafka has no function for."""
    return client._client


def drop_coordinator_connection(client: AIOKafkaClient, node_id: int) -> None:
    """Close the connection to a coordinator that does not answer. The next request opens a new connection.

    aiokafka closes the connection only after the timeout of requests, which is longer than the session of a member.
    """
    connection = client._conns.get((node_id, ConnectionGroup.COORDINATION))
    if connection is not None:
        connection.close(reason=CloseReason.CONNECTION_TIMEOUT)


def observe_responses(consumer: AIOKafkaConsumer, observe: Callable[[object, Any], None]) -> None:
    """Call `observe` with each request of a consumer and its response."""
    send = consumer._client.send

    async def send_observed(node_id: int, request: object, **options: Any) -> Any:
        response = await send(node_id, request, **options)
        observe(request, response)
        return response

    consumer._client.send = send_observed


def find_dead_task(consumer: AIOKafkaConsumer) -> str | None:
    """Return the name of a background task that has ended, or None. aiokafka does not report such an end."""
    if consumer._fetcher._fetch_task.done():
        return "fetch"
    coordinator = consumer._coordinator
    if isinstance(coordinator, NoGroupCoordinator):
        return None
    if coordinator._coordination_task.done():
        return "coordination"
    heartbeat = coordinator._heartbeat_task
    # The heartbeat task also ends before aiokafka joins the group again.
    if heartbeat is not None and heartbeat.done() and not coordinator._rejoin_needed_fut.done():
        return "heartbeat"
    return None


def read_position(consumer: AIOKafkaConsumer, partition: TopicPartition) -> int | None:
    """Return the position of a consumer, or None if it has none. The public function waits for a position."""
    subscription = consumer._subscription.subscription
    if subscription is None or subscription.assignment is None or partition not in subscription.assignment.tps:
        return None
    state = subscription.assignment.state_value(partition)
    return int(state.position) if state.has_valid_position else None


def has_buffered(consumer: AIOKafkaConsumer, partition: TopicPartition) -> bool:
    """Tell whether a consumer holds records or an error of a partition that `getmany` has not returned yet."""
    return partition in consumer._fetcher._records


async def fetch_committed_with_metadata(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return the committed offsets of a consumer's group with their metadata, which the public function drops."""
    committed: dict[TopicPartition, OffsetAndMetadata] = await consumer._coordinator.fetch_committed_offsets(partitions)
    return committed


async def fetch_high_watermarks(
    consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition], timeout_ms: int
) -> dict[TopicPartition, int]:
    """Return the ends of partitions for readers of uncommitted records, for a consumer of any isolation level."""
    fetcher = copy.copy(consumer._fetcher)
    fetcher._isolation_level = READ_UNCOMMITTED
    ends: dict[TopicPartition, int] = await fetcher.end_offsets(partitions, timeout_ms)
    return ends


async def find_group_coordinator(producer: AIOKafkaProducer, group_id: str) -> int:
    """Return the broker to which a producer sends the offsets of a group."""
    return int(await producer._sender._find_coordinator(CoordinationType.GROUP, group_id))


def add_to_transaction(producer: AIOKafkaProducer, partition: TopicPartition) -> None:
    """Add a partition without records to the open transaction."""
    producer._txn_manager.maybe_add_partition_to_txn(partition)


def has_fatal_error(producer: AIOKafkaProducer) -> bool:
    """Tell whether a transactional producer is in a state that it cannot leave."""
    return bool(producer._txn_manager.is_fatal_error())


def retrieve_transaction_failure(producer: AIOKafkaProducer) -> None:
    """Mark the failure of a transaction as seen. asyncio logs a failure that nothing retrieves."""
    waiter = producer._txn_manager.wait_for_transaction_end()
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()


async def discard_producer(producer: AIOKafkaProducer) -> None:
    """Close a producer without flushing and without waiting for a broker. `AIOKafkaProducer.stop` does both, without a bound."""
    producer._closed = True
    task = None if producer._sender is None else producer._sender.sender_task
    if task is not None:
        task.cancel()
    await _close_connections(producer)
    for _ in range(_MAX_CANCELLATIONS):
        if task is None or task.done():
            break
        # After one cancellation the task waits for its own tasks, and one of these may search for a coordinator without end.
        task.cancel()
        await asyncio.wait([task], timeout=1)
    # The tasks may have opened a connection while the others were closed.
    await _close_connections(producer)
    # asyncio logs the failures of batches that were not sent, unless they are retrieved.
    for batches in producer._message_accumulator._batches.values():
        for batch in batches:
            if batch._drain_waiter.done():
                batch._drain_waiter.exception()


async def _close_connections(producer: AIOKafkaProducer) -> None:
    # The caller often handles a failure or a cancellation already. A connection that does not close in time is left to the
    # collector.
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await with_timeout(5, producer.client.close())

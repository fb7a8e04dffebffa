"""Publishes a record as a worker would, to find what a cluster refuses before a worker runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from worker.broker.delivery.batch_producer import BatchProducer
from worker.broker.delivery.transactional_producer import TransactionalProducer
from worker.errors import BrokerUnavailable, GistStreamError, describe_error
from worker.records import Message, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.connection.connection import Connection

_TIMEOUT_S = 20.0
_MAX_BYTES = 100_000
# Long enough that a producer compresses it.
_PROBE = Message(Output.DEAD_LETTERS, b"gist-probe", b'{"probe":"' + b"gist-stream check " * 20 + b'"}', (("gist-probe", b"true"),))
_FAILURES = (KafkaError, GistStreamError, OSError, TimeoutError, ValueError)


async def probe_delivery(
    connection: Connection,
    topics: Sequence[str],
    *,
    compression: str | None,
    transactional_id: str | None,
    transaction_timeout_s: float,
) -> None:
    """Publish a record to partition 0 of each topic; with a transactional id in a transaction that is aborted.

    Raises `BrokerUnavailable` with what the cluster refuses and the setting to change.
    """
    transaction = transactional_id, transaction_timeout_s
    failure = await _attempt(connection, topics, compression, *transaction)
    if failure is None:
        return
    reason = f"{connection.bootstrap_servers} refuses a record of a worker ({describe_error(failure)})"
    if compression and await _attempt(connection, topics, None, *transaction) is None:
        raise BrokerUnavailable(f"{reason}, and accepts the record without {compression}: set GIST_COMPRESSION to gzip or none")
    if transactional_id and await _attempt(connection, topics[-1:], None, None, 0.0) is None:
        raise BrokerUnavailable(
            f"{reason}, and accepts the record without a transaction: set GIST_DELIVERY=at_least_once, or permit transactions"
        )
    raise BrokerUnavailable(
        f"{reason}: the worker needs idempotent writes; give its user the right to write to {', '.join(topics)}, "
        "and IdempotentWrite on brokers before Kafka 3.0"
    )


async def _attempt(
    connection: Connection, topics: Sequence[str], compression: str | None, transactional_id: str | None, timeout_s: float
) -> Exception | None:
    """Publish the record; return the failure, or None."""
    options: dict[str, Any] = {"compression": compression, "max_bytes": dict.fromkeys(topics, _MAX_BYTES)}
    try:
        async with contextlib.AsyncExitStack() as stack:
            if transactional_id is None:
                producer = BatchProducer(connection, **options)
                stack.push_async_callback(producer.discard)
                await producer.start(_TIMEOUT_S)
                await _send(producer, topics)
            else:
                options |= {"transactional_id": transactional_id, "transaction_timeout_s": timeout_s}
                transactional = TransactionalProducer(connection, **options)
                stack.push_async_callback(transactional.discard)
                await transactional.start(_TIMEOUT_S)
                await transactional.begin(_TIMEOUT_S)
                await _send_and_abort(transactional, topics)
    except _FAILURES as error:
        return error
    return None


async def _send(producer: BatchProducer, topics: Sequence[str]) -> None:
    await producer.send([(topic, 0, _PROBE) for topic in topics], _TIMEOUT_S)


async def _send_and_abort(producer: TransactionalProducer, topics: Sequence[str]) -> None:
    try:
        await _send(producer, topics)
    except BaseException:
        # Readers of committed records wait for an open transaction.
        with contextlib.suppress(*_FAILURES):
            await producer.abort(_TIMEOUT_S)
        raise
    await producer.abort(_TIMEOUT_S)

"""Patch: note the requests of a transaction, and the commits of offsets, that got no answer.

aiokafka: repeats such a request and reports success. The first request may still arrive at the broker, after the
transaction has ended, or after the commit of a later offset.
Why it matters: with this version of the protocol (EndTxn below version 5) a late request changes the next transaction
of the same epoch. With the patch the producer is discarded before its next transaction, and its successor has a new
epoch. A late commit sets the offset of a partition back; the offsets are committed again for some time.
Reference: KIP-890 (each transaction gets its own epoch), which aiokafka 0.14 does not implement.
Needed until: `tests/broker/patches/test_unanswered_requests.py::test_aiokafka_ends_transactions_without_their_own_epoch` fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError, NodeNotReadyError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, TxnOffsetCommitRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.client import AIOKafkaClient

# The broker applies these requests to the transaction that is open when they arrive.
_TRANSACTION_REQUESTS = (
    ProduceRequest,
    AddPartitionsToTxnRequest,
    AddOffsetsToTxnRequest,
    TxnOffsetCommitRequest,
    EndTxnRequest,
)


def watch_unanswered_requests(
    client: AIOKafkaClient, on_unanswered: Callable[[], None], kinds: tuple[type, ...] = _TRANSACTION_REQUESTS
) -> None:
    """Call `on_unanswered` for each request of these kinds, by default of a transaction, that was sent and got no answer."""
    send = client.send

    async def send_watched(node_id: int, request: object, **options: Any) -> Any:
        try:
            return await send(node_id, request, **options)
        except NodeNotReadyError:
            # The request was not sent.
            raise
        except KafkaError:
            if isinstance(request, kinds):
                on_unanswered()
            raise

    client.send = send_watched

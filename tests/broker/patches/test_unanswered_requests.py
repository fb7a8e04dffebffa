"""The patch that notes requests of a transaction without an answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.transaction import EndTxnRequest, EndTxnRequest_v0

from worker.broker.patches.unanswered_requests import watch_unanswered_requests

END = EndTxnRequest(transactional_id="t", producer_id=1, producer_epoch=1, transaction_result=True)
# The first version in which each transaction has its own epoch (KIP-890).
_OWN_EPOCH_VERSION = 5


def test_aiokafka_ends_transactions_without_their_own_epoch() -> None:
    versions = [kind.API_VERSION for kind in EndTxnRequest_v0.__base__.__subclasses__() if kind.API_KEY == EndTxnRequest_v0.API_KEY]
    assert max(versions) < _OWN_EPOCH_VERSION


@pytest.mark.parametrize(
    ("request_", "error", "is_noted"),
    [(END, RequestTimedOutError(), True), (END, NodeNotReadyError(), False), (MetadataRequest([]), RequestTimedOutError(), False)],
    ids=["no_answer", "not_sent", "no_transaction"],
)
async def test_only_a_request_of_a_transaction_that_was_sent_is_noted(
    request_: object, error: KafkaError, *, is_noted: bool
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    client: Any = SimpleNamespace(send=fail)
    noted: list[bool] = []
    watch_unanswered_requests(client, lambda: noted.append(True))
    with pytest.raises(type(error)):
        await client.send(0, request_)
    assert noted == [True] * is_noted


async def test_the_kinds_of_requests_can_be_chosen() -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RequestTimedOutError

    client: Any = SimpleNamespace(send=fail)
    noted: list[bool] = []
    watch_unanswered_requests(client, lambda: noted.append(True), (OffsetCommitRequest,))
    commit = OffsetCommitRequest("readers", 1, "member", OffsetCommitRequest.DEFAULT_RETENTION_TIME, [])
    for request in (END, commit):
        with pytest.raises(RequestTimedOutError):
            await client.send(0, request)
    assert noted == [True]

"""The groups of both protocols, with a client that answers as scripted."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest

from worker.broker.consumer.group import ClassicGroup
from worker.broker.consumer.membership import Membership, RefusalDetector
from worker.broker.consumer.protocol_group import ConsumerProtocolGroup
from worker.broker.membership import messages


class Client:
    """The client of two brokers, of which the first is away."""

    cluster = SimpleNamespace(
        brokers=lambda: [SimpleNamespace(nodeId=1), SimpleNamespace(nodeId=2)], add_listener=lambda _listener: None
    )

    def get_random_node(self) -> int:
        """Return the broker that is away."""
        return 1

    async def coordinator_lookup(self, _kind: int, _key: str) -> int:
        """Find no coordinator."""
        raise KafkaConnectionError

    async def send(self, node_id: int, request: Any, **_options: Any) -> Any:
        """Return the metadata of a topic with two partitions."""
        if node_id == 1:
            raise NodeNotReadyError
        assert request.struct is messages.Metadata
        return SimpleNamespace(topics=[(0, "texts", uuid.UUID(int=1), False, [None] * 2, 0, {})])


def build_group(consumer: Any, **membership: Any) -> ConsumerProtocolGroup:
    fetcher: Any = SimpleNamespace(restore=lambda: None)
    listener: Any = None
    return ConsumerProtocolGroup(
        consumer,
        fetcher,
        listener,
        membership=Membership(topics=["texts"], group_id="readers", **membership),
        rack_id=None,
        on_event=lambda *_, **__: None,
        was_member=False,
    )


async def test_a_classic_commit_without_an_answer_leaves_the_offsets_in_doubt() -> None:
    """The client repeats the commit on a new connection, and the first request may arrive later, with an older offset."""

    async def send(_node_id: int, _request: object, **_options: Any) -> Any:
        raise RequestTimedOutError

    client: Any = SimpleNamespace(send=send)
    consumer: Any = SimpleNamespace(_client=client, subscribe=lambda *_, **__: None)
    unused: Any = None
    membership = Membership(topics=["texts"], group_id="readers")
    group = ClassicGroup(consumer, unused, unused, membership=membership, refusals=RefusalDetector(membership))
    await group.join()
    for request, is_in_doubt in (
        (OffsetFetchRequest("readers", []), False),
        (OffsetCommitRequest("readers", 1, "member", OffsetCommitRequest.DEFAULT_RETENTION_TIME, []), True),
    ):
        with pytest.raises(RequestTimedOutError):
            await client.send(1, request)
        assert group.is_commit_in_doubt == is_in_doubt


async def test_a_broker_that_is_away_does_not_refuse_the_start() -> None:
    held: list[TopicPartition] = []
    consumer: Any = SimpleNamespace(_client=Client(), assign=held.extend, seek=lambda *_: None, pause=lambda *_: None)
    group = build_group(consumer)
    for _ in range(8):
        held.clear()
        await group.join()
        await group.leave()
        assert held == [TopicPartition("texts", 0), TopicPartition("texts", 1)]


@pytest.mark.parametrize(("session_timeout_ms", "answer_timeout_s"), [(45_000, 18.0), (10_000, 4.0)])
def test_a_slow_answer_to_a_heartbeat_is_awaited_for_less_than_half_of_the_session(
    session_timeout_ms: int, answer_timeout_s: float
) -> None:
    """The time is enough for a slow login, and leaves the member time for another heartbeat before its session ends."""
    group = build_group(SimpleNamespace(_client=Client()), session_timeout_ms=session_timeout_ms)
    assert group.member.answer_timeout_s == answer_timeout_s

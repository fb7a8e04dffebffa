"""Topics: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import BrokerMetadata

from tests.integration.support.raw import configure
from worker.broker.admin.topics import count_partitions, create_missing, describe_topics
from worker.broker.connection.connection import Connection
from worker.errors import BadSettings, BrokerUnavailable, TopicsMissing

pytestmark = pytest.mark.kafka


async def test_missing_topics_are_created_once(connection: Connection, topic: str) -> None:
    """With the partitions asked for; what is there stays as it is."""
    assert await create_missing(connection, {topic: 3}) == [topic]
    assert await create_missing(connection, {topic: 5, f"{topic}.more": 1}) == [f"{topic}.more"]
    assert await count_partitions(connection, [topic, f"{topic}.more", f"{topic}.never"]) == {topic: 3, f"{topic}.more": 1}


async def test_what_a_topic_takes_is_read(connection: Connection, topic: str) -> None:
    """The largest message is the topic's own limit where it has one."""
    await create_missing(connection, {topic: 1})
    assert (await describe_topics(connection, [topic]))[topic].max_message_bytes > 1_000_000
    await configure(connection, topic, {"max.message.bytes": "5000"})
    assert (await describe_topics(connection, [topic]))[topic].max_message_bytes == 5000


async def test_what_is_missing_is_named_with_the_way_out(connection: Connection, topic: str) -> None:
    """One line: the topics, the address, the command."""
    with pytest.raises(TopicsMissing) as caught:
        await describe_topics(connection, [f"{topic}.a", f"{topic}.b"])
    assert str(caught.value).startswith(f"there are no topics {topic}.a, {topic}.b at {connection.bootstrap_servers}")
    assert "gist-stream topics --create" in str(caught.value)


async def test_a_name_that_the_broker_refuses_is_reported(connection: Connection) -> None:
    """With the broker's own words."""
    with pytest.raises(TopicsMissing, match="could not be created"):
        await create_missing(connection, {"not/a/topic": 1})


async def test_one_broker_that_is_away_is_not_the_cluster(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The brokers name it still for some seconds; the others are asked."""
    await create_missing(connection, {topic: 1})
    brokers = ClusterMetadata.brokers

    def with_ghosts(cluster: ClusterMetadata) -> list[object]:
        ghosts = [BrokerMetadata(number, "127.0.0.1", 1, None) for number in range(90, 110)]
        return [*ghosts, *brokers(cluster)]

    monkeypatch.setattr(ClusterMetadata, "brokers", with_ghosts)
    assert (await describe_topics(connection, [topic]))[topic].num_partitions == 1


async def test_nobody_there_is_one_line() -> None:
    """It names the address."""
    with pytest.raises(BrokerUnavailable, match=r"no broker can be used at 127\.0\.0\.1:1"):
        await count_partitions(Connection(bootstrap_servers="127.0.0.1:1"), ["x"])


def test_a_certificate_that_is_not_there_is_a_bad_setting() -> None:
    """It is noticed before anything is connected, and no password shows."""
    hush = "hush"
    connection = Connection(
        bootstrap_servers="x:1", security_protocol="SASL_SSL", sasl_username="u", sasl_password=hush, ssl_ca_file="/nowhere.pem"
    )
    with pytest.raises(BadSettings, match="GIST_SSL_CA_FILE: "):
        connection.options()
    assert hush not in repr(connection)

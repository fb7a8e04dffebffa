"""Descriptions and creation of topics."""

from __future__ import annotations

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import BrokerMetadata

from tests.integration.support.raw import configure
from worker.broker.admin.topics import count_partitions, create_missing, describe_topics
from worker.broker.connection.connection import Connection
from worker.errors import BadSettings, BrokerUnavailable, TopicsMissing

pytestmark = pytest.mark.kafka


async def test_only_missing_topics_are_created(connection: Connection, topic: str) -> None:
    assert await create_missing(connection, {topic: 3}) == [topic]
    assert await create_missing(connection, {topic: 5, f"{topic}.more": 1}) == [f"{topic}.more"]
    assert await count_partitions(connection, [topic, f"{topic}.more", f"{topic}.never"]) == {topic: 3, f"{topic}.more": 1}


async def test_the_largest_message_is_the_limit_of_the_topic(connection: Connection, topic: str) -> None:
    await create_missing(connection, {topic: 1})
    assert (await describe_topics(connection, [topic]))[topic].max_message_bytes > 1_000_000
    await configure(connection, topic, {"max.message.bytes": "5000"})
    assert (await describe_topics(connection, [topic]))[topic].max_message_bytes == 5000


async def test_the_error_names_missing_topics_the_address_and_the_command(connection: Connection, topic: str) -> None:
    with pytest.raises(TopicsMissing) as caught:
        await describe_topics(connection, [f"{topic}.a", f"{topic}.b"])
    assert str(caught.value).startswith(f"there are no topics {topic}.a, {topic}.b at {connection.bootstrap_servers}")
    assert "gist-stream topics --create" in str(caught.value)


async def test_an_invalid_name_is_reported_with_the_message_of_the_broker(connection: Connection) -> None:
    with pytest.raises(TopicsMissing, match="could not be created"):
        await create_missing(connection, {"not/a/topic": 1})


async def test_another_broker_is_asked_if_one_is_unavailable(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cluster metadata lists a stopped broker for some seconds."""
    await create_missing(connection, {topic: 1})
    brokers = ClusterMetadata.brokers

    def list_with_stopped(cluster: ClusterMetadata) -> list[object]:
        stopped = [BrokerMetadata(number, "127.0.0.1", 1, None) for number in range(90, 110)]
        return [*stopped, *brokers(cluster)]

    monkeypatch.setattr(ClusterMetadata, "brokers", list_with_stopped)
    assert (await describe_topics(connection, [topic]))[topic].num_partitions == 1


async def test_an_unreachable_broker_is_one_line_with_the_address() -> None:
    with pytest.raises(BrokerUnavailable, match=r"no broker can be used at 127\.0\.0\.1:1"):
        await count_partitions(Connection(bootstrap_servers="127.0.0.1:1"), ["x"])


def test_a_missing_certificate_file_is_reported_before_connecting() -> None:
    """The representation of the connection does not contain the password."""
    password = "hush"  # noqa: S105  a password of this test
    connection = Connection(
        bootstrap_servers="x:1", security_protocol="SASL_SSL", sasl_username="u", sasl_password=password, ssl_ca_file="/nowhere.pem"
    )
    with pytest.raises(BadSettings, match="GIST_SSL_CA_FILE: "):
        connection.options()
    assert password not in repr(connection)

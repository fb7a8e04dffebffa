"""The descriptions of groups of both protocols, and the settings of a group."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.java_consumer import consume_in_java
from worker.broker.admin import topics
from worker.broker.admin.group_requests import ConsumerGroupDescribe, build_alter_settings, build_describe
from worker.broker.admin.group_settings import HEARTBEAT_INTERVAL, SESSION_TIMEOUT, find_longer_waits, set_group_settings
from worker.broker.admin.groups import GroupDescription, GroupMember, describe_group
from worker.broker.admin.offsets import commit_offsets, fetch_group_offsets
from worker.broker.tools.clients import join_group
from worker.errors import BadSettings
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.broker.connection.connection import Connection


def test_the_requests_have_the_bytes_of_the_message_definitions() -> None:
    """Compact strings and arrays begin with their length plus one; each struct ends with no tagged fields."""
    described = build_describe("ab").prepare({69: (0, 1)})
    assert described.encode() == b"\x02\x03ab\x00\x00"
    altered = build_alter_settings("g", {"n": "1"}).prepare({44: (0, 1)})
    assert altered.encode() == bytes.fromhex("02 20 0267 02 026e 00 0231 00 00 00 00")


def test_a_response_is_read_by_the_message_definition() -> None:
    """A member has its current and its target assignment, and its type."""
    topic_partitions = b"\x02" + bytes(range(16)) + b"\x02t\x03\0\0\0\0\0\0\0\1\0\0"
    member = b"\x02m\x00\x00\0\0\0\7\x02c\x02h\x01\x00" + topic_partitions + b"\x01\0" + b"\x01\0"
    group = b"\0\0\x00\x02g\x07Stable\0\0\0\1\0\0\0\1\x02a\x02" + member + b"\x80\0\0\0\0"
    response = ConsumerGroupDescribe.RESPONSE_TYPE.decode(io.BytesIO(b"\0\0\0\0\x02" + group + b"\0"))
    (described,) = response.groups
    assert (described[2], described[3], described[7][0][0], described[7][0][3], described[7][0][10]) == ("g", "Stable", "m", 7, 1)
    assert described[7][0][8][0][0][1:3] == ("t", [0, 1])


def test_a_description_names_protocol_and_members_for_people() -> None:
    classic, consumer = GroupMember("a", "/h", frozenset()), GroupMember("b", "/h", frozenset(), "consumer")
    assert str(GroupDescription("Stable", (classic,))) == "stable, 1 member, classic protocol"
    assert (
        str(GroupDescription("Stable", (consumer, classic), "consumer"))
        == "stable, 2 members, 1 of them classic, consumer protocol"
    )
    assert GroupDescription("Stable", (consumer,), "consumer").describe_for("consumer") == "stable, 1 member"
    assert GroupDescription("Stable", (classic,)).describe_for("consumer") == "stable, 1 member, with the classic protocol"
    mixed = GroupDescription("Stable", (consumer, classic), "consumer")
    assert mixed.describe_for("consumer") == "stable, 2 members, 1 of them with the classic protocol"
    assert mixed.describe_for("classic") == "stable, 2 members, 1 of them with the consumer protocol"
    assert str(GroupDescription("Dead", (), None)) == "no such group yet, because no worker has joined or committed"


@pytest.mark.kafka
async def test_a_group_of_the_consumer_protocol_is_described_with_members_of_both(connection: Connection, topic: str) -> None:
    """Kafka's own consumer and a classic member share a group; its offsets can be set once both have left."""
    await topics.create_missing(connection, {topic: 2})
    group_id = f"group-{topic}"
    assert (await describe_group(connection, group_id)) == GroupDescription("Dead", (), None)
    with consume_in_java(connection, topic, group_id):
        await _until(connection, group_id, lambda group: bool(group.members))
        async with join_group(connection, topic, group_id=group_id):
            group = await _until(connection, group_id, lambda group: len(group.members) == 2)
            assert group.protocol == "consumer"
            assert {member.protocol for member in group.members} == {"classic", "consumer"}
            _, offsets = await fetch_group_offsets(connection, topic, group_id)
            assert {offset.owner for offset in offsets} & set(group.members)
            with pytest.raises(BadSettings, match="has live members"):
                await commit_offsets(connection, group_id, {Partition(topic, 0): 0})
    await _until(connection, group_id, lambda group: not group.members)
    await commit_offsets(connection, group_id, {Partition(topic, 0): 0})
    group, offsets = await fetch_group_offsets(connection, topic, group_id)
    assert (group.state, [offset.committed for offset in offsets]) == ("Empty", [0, None])


async def _until(connection: Connection, group_id: str, condition: Callable[[GroupDescription], bool]) -> GroupDescription:
    """Return the description of the group once a condition holds."""
    while not condition(group := await describe_group(connection, group_id)):  # noqa: ASYNC110  the coordinator sends no notification
        await asyncio.sleep(0.1)
    return group


@pytest.mark.kafka
async def test_the_waits_of_a_group_are_shortened_as_far_as_the_brokers_allow(connection: Connection, topic: str) -> None:
    """The reason of a refusal names the limit of the brokers, and the other setting is applied."""
    wanted_ms = {HEARTBEAT_INTERVAL: 1_000, SESSION_TIMEOUT: 5_500}
    assert await find_longer_waits(connection, topic, wanted_ms) == {HEARTBEAT_INTERVAL: 5_000, SESSION_TIMEOUT: 6_000}
    refusals = await set_group_settings(connection, topic, wanted_ms | {HEARTBEAT_INTERVAL: 1})
    assert list(refusals) == [HEARTBEAT_INTERVAL]
    assert "group.consumer.min.heartbeat.interval.ms" in refusals[HEARTBEAT_INTERVAL]
    while SESSION_TIMEOUT in (longer := await find_longer_waits(connection, topic, wanted_ms)):  # noqa: ASYNC110  the broker sends no notification
        await asyncio.sleep(0.05)
    assert longer == {HEARTBEAT_INTERVAL: 5_000}

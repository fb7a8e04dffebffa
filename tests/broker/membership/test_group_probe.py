"""The check of a group of the consumer protocol, on a real Kafka."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from worker.broker.admin.groups import describe_group
from worker.broker.admin.topics import create_missing
from worker.broker.membership.group_probe import probe_group
from worker.broker.membership.protocol_choice import ProtocolChoice
from worker.broker.tools.clients import join_group
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def test_the_check_adds_no_member_and_moves_no_partition(connection: Connection, topic: str) -> None:
    """An unknown group and a group with classic members accept the worker; `classic` asks no group."""
    await create_missing(connection, {topic: 1})
    assert await probe_group(connection, topic, [topic], "auto") == ProtocolChoice("consumer")
    assert (await describe_group(connection, topic)).members == ()
    async with join_group(connection, topic, group_id=topic):
        while (before := await describe_group(connection, topic)).state != "Stable":  # noqa: ASYNC110  the coordinator sends no notification
            await asyncio.sleep(0.05)
        assert await probe_group(connection, topic, [topic], "consumer") == ProtocolChoice("consumer")
        assert await probe_group(connection, topic, [topic], "classic") == ProtocolChoice("classic")
        assert await describe_group(connection, topic) == before


async def test_a_refusal_is_one_line_with_the_words_of_the_broker(connection: Connection, topic: str) -> None:
    with pytest.raises(BrokerUnavailable, match=r"refuses this worker: .*GroupId can't be empty") as caught:
        await probe_group(connection, "", [topic], "consumer")
    assert "\n" not in str(caught.value)

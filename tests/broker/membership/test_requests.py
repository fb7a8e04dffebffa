"""The bytes of the requests of a member, and the reading of responses."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.structs import OffsetAndMetadata

from worker.broker.membership import messages, requests
from worker.broker.membership.member_state import Heartbeat, HeartbeatAnswer

if TYPE_CHECKING:
    from worker.broker.message_types import FixedVersionRequest

TOPIC_ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
ID_HEX = "00112233445566778899aabbccddeeff"
SUBSCRIPTION = requests.Subscription(group_id="g", topics=("u", "t"), rebalance_timeout_ms=60_000, rack_id="r")
MEMBER = requests.MemberIdentity("m", 3)
STATIC = requests.MemberIdentity("m", 3, "i")
OWNED = Heartbeat(3, is_full=False, owned=frozenset({(TOPIC_ID, 1), (TOPIC_ID, 0)}))
PLACE = TopicPartition("t", 1)

# Compact strings and arrays begin with their length plus 1, and 00 is null; every struct ends with 00, no tags.
GOLDEN = {
    # group, member, epoch 0, no instance, rack, rebalance timeout, topics, no pattern, no assignor, owns nothing.
    "join": (
        requests.build_heartbeat(SUBSCRIPTION, MEMBER, Heartbeat(0, is_full=True, owned=frozenset())),
        "0267 026d 00000000 00 0272 0000ea60 03 0274 0275 00 00 01 00",
    ),
    # group, member, epoch 3, instance, nothing new.
    "heartbeat": (
        requests.build_heartbeat(SUBSCRIPTION, STATIC, Heartbeat(3, is_full=False, owned=None)),
        "0267 026d 00000003 0269 00 ffffffff 00 00 00 00 00",
    ),
    # The same, and the partitions 0 and 1 of one topic.
    "acknowledge": (
        requests.build_heartbeat(
            SUBSCRIPTION, MEMBER, Heartbeat(3, is_full=False, owned=frozenset({(TOPIC_ID, 1), (TOPIC_ID, 0)}))
        ),
        f"0267 026d 00000003 00 00 ffffffff 00 00 00 02 {ID_HEX} 03 00000000 00000001 00 00",
    ),
    "leave": (
        requests.build_leave("g", requests.MemberIdentity("m", -1)),
        "0267 026d ffffffff 00 00 ffffffff 00 00 00 00 00",
    ),
    # group, epoch, member, instance, one topic with one partition: offset 7, no leader epoch, metadata.
    "commit": (
        requests.build_commit("g", STATIC, {PLACE: OffsetAndMetadata(7, "x")}),
        "0267 00000003 026d 0269 02 0274 02 00000001 0000000000000007 ffffffff 0278 00 00 00",
    ),
    # One group with member, epoch and one topic; stable offsets only.
    "fetch": (
        requests.build_fetch("g", MEMBER, [PLACE]),
        "02 0267 026d 00000003 02 0274 02 00000001 00 00 01 00",
    ),
    # transactional id, group, producer 9 with epoch 2, epoch and id of the member, no instance, one offset.
    "transactional commit": (
        requests.build_transactional_commit("x", (9, 2), "g", MEMBER, [("t", [(1, 7, "")])]),
        "0278 0267 0000000000000009 0002 00000003 026d 00 02 0274 02 00000001 0000000000000007 ffffffff 01 00 00 00",
    ),
    # A topic by its name and a topic by its id; no creation, no operations.
    "metadata": (
        requests.build_metadata(names=["t"], topic_ids=[TOPIC_ID]),
        f"03 00000000000000000000000000000000 0274 00 {ID_HEX} 00 00 00 00 00",
    ),
}


@pytest.mark.parametrize(("request_", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_a_request_has_the_bytes_of_the_message_definition(request_: FixedVersionRequest, expected: str) -> None:
    message = request_.prepare({request_.struct.API_KEY: (0, 99)})
    assert message.encode().hex() == expected.replace(" ", "")
    assert type(message).decode(message.encode()).encode() == message.encode()


def test_the_versions_are_those_of_kafka_4() -> None:
    assert [(struct.API_KEY, struct.API_VERSION) for struct in requests.REQUIRED] == [(68, 1), (8, 9), (9, 9), (28, 3)]


def test_a_broker_without_the_version_is_an_error() -> None:
    for versions in ({68: (0, 0)}, {}):
        with pytest.raises(IncompatibleBrokerVersion, match="ConsumerGroupHeartbeatRequest needs version 1"):
            requests.build_leave("g", MEMBER).prepare(versions)


def decode(struct: type, text: str) -> object:
    """Return the response with these bytes."""
    return struct.RESPONSE_TYPE.decode(bytes.fromhex(text.replace(" ", "")))  # type: ignore[attr-defined]  # a class of aiokafka


def test_the_answer_to_a_heartbeat_is_read() -> None:
    head = "00000000 0000 00 026d 00000005 000003e8"
    nothing_new = requests.read_heartbeat(decode(messages.ConsumerGroupHeartbeat, f"{head} ff 00"))
    assert nothing_new == HeartbeatAnswer(0, 5, 1.0, None)
    assigned = requests.read_heartbeat(decode(messages.ConsumerGroupHeartbeat, f"{head} 01 02 {ID_HEX} 02 00000001 00 00 00"))
    assert assigned == HeartbeatAnswer(0, 5, 1.0, frozenset({(TOPIC_ID, 1)}))
    refused = requests.read_heartbeat(decode(messages.ConsumerGroupHeartbeat, "00000000 006e 0278 00 00000000 00000000 ff 00"))
    assert refused.code == 110


def test_the_errors_of_a_commit_are_read() -> None:
    text = "00000000 02 0274 03 00000000 0000 00 00000001 0071 00 00 00"
    for struct in (messages.OffsetCommit, messages.TxnOffsetCommit):
        assert requests.read_commit_codes(decode(struct, text)) == {113}


def test_committed_offsets_are_read() -> None:
    """A partition without a committed offset is left out."""
    partitions = "03 00000000 0000000000000007 ffffffff 0278 0000 00 00000001 ffffffffffffffff ffffffff 01 0000 00"
    codes, committed = requests.read_fetch(decode(messages.OffsetFetch, f"00000000 02 0267 02 0274 {partitions} 00 0000 00 00"))
    assert (codes, committed) == (set(), {TopicPartition("t", 0): OffsetAndMetadata(7, "x")})
    assert requests.read_fetch(decode(messages.OffsetFetch, "00000000 02 0267 01 0019 00 00")) == ({25}, {})


def test_topics_are_read() -> None:
    """A topic with an error is left out."""
    partition = "0000 00000000 00000001 00000000 02 00000001 02 00000001 01 00"
    known = f"0000 0274 {ID_HEX} 00 02 {partition} 80000000 00"
    unknown = f"0003 0275 {'00' * 16} 00 01 80000000 00"
    response = decode(messages.Metadata, f"00000000 01 00 00000001 03 {known} {unknown} 00")
    assert requests.read_topics(response) == [requests.Topic("t", TOPIC_ID, 1)]

"""The tasks of a member, with the coordinator of the simulation in place of a broker."""

from __future__ import annotations

import asyncio
import contextlib
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, KafkaError
from aiokafka.protocol.transaction import TxnOffsetCommitRequest
from aiokafka.structs import OffsetAndMetadata

from tests.broker.membership.simulation import TOPIC, Coordinator
from worker.broker.admin.group_settings import SESSION_TIMEOUT
from worker.broker.membership import messages
from worker.broker.membership.coordinator import CoordinatorLink
from worker.broker.membership.group_member import ConsumerGroupMember
from worker.broker.membership.member_offsets import MemberOffsets
from worker.broker.membership.member_state import Heartbeat, Pace
from worker.broker.membership.protocol_choice import ProtocolChoice, choose_protocol
from worker.broker.membership.requests import MemberIdentity, Subscription, build_metadata
from worker.broker.membership.transactions import commit_as_member
from worker.errors import BrokerUnavailable, ConsumerBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from worker.broker.admin.groups import GroupProtocol

PACE = Pace(interval_s=0.01, settling_interval_s=0.01, first_pause_s=0.01, max_pause_s=0.02)
ALL = {TopicPartition("texts", index) for index in range(8)}


class Client:
    """Answers the requests of members as the coordinator of the simulation, and the codes of commits as scripted."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        # The connections of aiokafka's client, by broker and purpose.
        self._conns: dict[Any, Any] = {}
        # Raised by the next requests, one each.
        self.errors: list[Exception] = []
        # The number of the next requests without an answer.
        self.num_unanswered = 0
        # The error codes of the next commits and fetches, one each.
        self.codes: list[int] = []
        self.commits: list[tuple[Any, ...]] = []
        # Called with the name of a request before its answer.
        self.before: Callable[[str], None] = lambda _name: None

    async def coordinator_lookup(self, _kind: int, _key: str) -> int:
        """Return the only broker."""
        return 1

    def get_random_node(self) -> int:
        """Return the only broker."""
        return 1

    async def send(self, _node_id: int, request: Any, **_options: Any) -> Any:
        """Return the response."""
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        if self.num_unanswered:
            self.num_unanswered -= 1
            await asyncio.Event().wait()
        struct, values = request.struct, request.values
        self.before(struct.__name__)
        if struct is messages.Metadata:
            return SimpleNamespace(topics=[(0, "texts", TOPIC, False, [None] * 8, 0, {})])
        if struct is messages.ConsumerGroupHeartbeat:
            return self._answer_heartbeat(values)
        code = self.codes.pop(0) if self.codes else 0
        if struct is messages.OffsetFetch:
            found: list[Any] = [(0, 5, -1, "note", 0, {}), (1, -1, -1, "", 0, {})]
            return SimpleNamespace(groups=[("readers", [] if code else [("texts", found, {})], code, {})])
        self.commits.append(values)
        return SimpleNamespace(topics=[("texts", [(0, code, {})], {})])

    def _answer_heartbeat(self, values: tuple[Any, ...]) -> Any:
        _group, name, epoch, instance_id, _rack, timeout_ms, *_, owned = values
        places = None if owned is None else frozenset((topic_id, index) for topic_id, indexes, _ in owned for index in indexes)
        answer = self.coordinator.heartbeat(name, instance_id, Heartbeat(epoch, is_full=timeout_ms > 0, owned=places))
        target = answer.target
        assignment: Any = None if target is None else ([(TOPIC, [index for _, index in target], {})], {})
        return SimpleNamespace(
            error_code=answer.code,
            error_message="words of the broker" if answer.code else None,
            member_epoch=answer.epoch,
            heartbeat_interval_ms=10,
            assignment=assignment,
        )


class Listener:
    """Keeps the owned partitions and every change. A drain ends when `may_drain` is set."""

    def __init__(self) -> None:
        self.owned: set[TopicPartition] = set()
        self.changes: list[tuple[str, int]] = []
        self.may_drain = asyncio.Event()
        self.may_drain.set()
        self.is_draining = asyncio.Event()
        self._is_lost = asyncio.Event()

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Add the partitions."""
        self.owned |= set(partitions)
        self.changes.append(("assigned", len(partitions)))

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Remove the partitions after the drain, or after a loss, which ends the drain."""
        self.is_draining.set()
        self._is_lost.clear()
        waits = [asyncio.create_task(event.wait()) for event in (self.may_drain, self._is_lost)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self.owned -= set(partitions)
        self.changes.append(("revoked", len(partitions)))

    async def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Remove the partitions at once."""
        self._is_lost.set()
        self.owned -= set(partitions)
        self.changes.append(("lost", len(partitions)))


@contextlib.asynccontextmanager
async def joining(client: Client, **options: Any) -> AsyncIterator[tuple[ConsumerGroupMember, Listener, list[str]]]:
    """Run a member until the end of the block."""
    listener, events = Listener(), list[str]()
    subscription = Subscription(group_id="readers", topics=("texts",), rebalance_timeout_ms=60_000)
    member = ConsumerGroupMember(
        client,
        subscription,
        listener,
        lambda event, **_fields: events.append(str(event)),
        pace=PACE,
        **options,
    )
    member.start()
    try:
        yield member, listener, events
    finally:
        await member.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the time limit of the test ends the wait."""
    while not condition():  # noqa: ASYNC110  a member sends no notification
        await asyncio.sleep(0.001)


async def test_a_second_member_gets_its_share_and_the_first_keeps_the_rest() -> None:
    client = Client(Coordinator())
    async with joining(client) as (_, one, _events):
        await until(lambda: one.owned == ALL)
        async with joining(client) as (second, two, _):
            await until(lambda: len(two.owned) == 4)
            assert one.owned | two.owned == ALL
            assert [change for change in one.changes if change[0] != "assigned"] == [("revoked", 4)]
            assert second.owns(next(iter(two.owned)))
            assert not second.owns(next(iter(one.owned)))
        await until(lambda: one.owned == ALL)
    assert not client.coordinator.members
    assert ("lost", 8) not in one.changes


class LateClient(Client):
    """Sends the assignment of a new member with the answer after that to the join."""

    late: Any = None

    def _answer_heartbeat(self, values: tuple[Any, ...]) -> Any:
        answer = super()._answer_heartbeat(values)
        if values[2] == 0:
            self.late, answer.assignment = answer.assignment, ([], {})
        elif self.late is not None:
            answer.assignment, self.late = self.late, None
        return answer


async def test_a_member_waits_for_an_assignment_that_comes_after_the_answer_to_the_join() -> None:
    """A worker without partitions would be ready before the sessions of its partitions are open."""
    async with joining(LateClient(Coordinator())) as (_, listener, _events):
        await until(lambda: listener.owned == ALL)
        assert listener.changes == [("assigned", 8)]


async def test_heartbeats_continue_during_a_drain_and_the_partitions_move_after_it() -> None:
    client, num_heartbeats = Client(Coordinator()), [0]

    def count(name: str) -> None:
        num_heartbeats[0] += name == "ConsumerGroupHeartbeatRequest"

    client.before = count
    async with joining(client) as (_, one, _events):
        await until(lambda: one.owned == ALL)
        one.may_drain.clear()
        async with joining(client) as (_, two, _other):
            await one.is_draining.wait()
            before = num_heartbeats[0]
            await until(lambda: num_heartbeats[0] > before + 10)
            assert not two.owned
            one.may_drain.set()
            await until(lambda: len(two.owned) == 4)


async def test_a_member_that_is_removed_during_a_drain_loses_everything_and_joins_again() -> None:
    client = Client(Coordinator())
    async with joining(client) as (first, one, _events):
        await until(lambda: one.owned == ALL)
        one.may_drain.clear()
        async with joining(client):
            await one.is_draining.wait()
            client.coordinator.remove(first.identity.member_id)
            await until(lambda: ("lost", 8) in one.changes)
            one.may_drain.set()
            await until(lambda: len(one.owned) == 4)
            first.check()


async def test_a_stop_during_a_drain_leaves_no_task() -> None:
    """A task that nothing ends is an error in the log of the worker."""
    client, before = Client(Coordinator()), asyncio.all_tasks()
    async with joining(client) as (first, one, _events):
        await until(lambda: one.owned == ALL)
        one.may_drain.clear()
        async with joining(client):
            await one.is_draining.wait()
            await first.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_lost_answers_change_nothing() -> None:
    client = Client(Coordinator())
    async with joining(client) as (_, one, _events):
        await until(lambda: one.owned == ALL)
        client.errors = [KafkaConnectionError(), TimeoutError(), KafkaConnectionError()]
        await until(lambda: not client.errors)
        async with joining(client) as (_, two, _other):
            await until(lambda: len(two.owned) == 4)
    assert not [change for change in one.changes if change[0] == "lost"]


async def test_after_a_timeout_the_next_heartbeat_uses_a_new_connection() -> None:
    client, reasons = Client(Coordinator()), list[Any]()

    def close(*, reason: Any) -> None:
        reasons.append(reason)

    async with joining(client, answer_timeout_s=0.1) as (_, one, _events):
        await until(lambda: one.owned == ALL)
        client._conns[1, ConnectionGroup.COORDINATION] = SimpleNamespace(close=close)
        client.num_unanswered = 1
        await until(lambda: bool(reasons))


async def test_a_search_of_the_coordinator_without_an_answer_disturbs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request waits for a broker that does not answer, and meanwhile another request finds the coordinator."""
    client, reasons, searches = Client(Coordinator()), list[Any](), list[str]()

    async def search(_kind: int, key: str) -> int:
        searches.append(key)
        return 1 if len(searches) > 1 else await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(client, "coordinator_lookup", search)
    client._conns[1, ConnectionGroup.COORDINATION] = SimpleNamespace(close=reasons.append)
    link, request = CoordinatorLink(client, "readers"), build_metadata(names=["texts"])
    waiting = asyncio.create_task(link.send(request, 0.05))
    await until(lambda: bool(searches))
    await link.send(request, 5.0)
    with pytest.raises(TimeoutError):
        await waiting
    await link.send(request, 5.0)
    assert (len(searches), reasons) == (2, [])


async def test_a_refusal_is_one_line_and_ends_a_worker_that_was_never_a_member() -> None:
    client = Client(Coordinator())
    client.errors = [GroupAuthorizationFailedError()]
    async with joining(client) as (member, _, _events):
        await until(lambda: member._state.refusal is not None)
        with pytest.raises(BrokerUnavailable, match=r"the group readers refuses this worker: .* Read on the group"):
            member.check()
    client.errors = [GroupAuthorizationFailedError()]
    async with joining(client, was_member=True) as (member, _, _events):
        await until(lambda: member._state.refusal is not None)
        with pytest.raises(ConsumerBroken, match="Read on the group"):
            member.check()


async def test_an_instance_id_in_use_is_reported_once_and_joined_when_it_is_free() -> None:
    client = Client(Coordinator())
    async with contextlib.AsyncExitStack() as stack:
        first = contextlib.AsyncExitStack()
        _, one, _ = await first.enter_async_context(joining(client, instance_id="pod-0"))
        await until(lambda: one.owned == ALL)
        second, two, events = await stack.enter_async_context(joining(client, instance_id="pod-0"))
        # The pause is at its limit after the second refusal.
        await until(lambda: second._state._pause_s == PACE.max_pause_s)
        second.check()
        assert events == ["instance_id_in_use"]
        assert not two.owned
        # A static member keeps its place when it stops, and the successor takes it over.
        await first.aclose()
        await until(lambda: two.owned == ALL)


async def test_a_member_whose_task_dies_is_broken() -> None:
    async with joining(Client(Coordinator())) as (member, listener, _):
        await until(lambda: listener.owned == ALL)
        member._tasks["heartbeat"].cancel()
        await asyncio.wait([member._tasks["heartbeat"]])
        with pytest.raises(ConsumerBroken, match="heartbeat task"):
            member.check()


async def test_offsets_are_committed_with_the_new_epoch_after_a_change() -> None:
    """Only owned partitions are committed."""
    client = Client(Coordinator())
    async with joining(client) as (member, listener, _):
        await until(lambda: listener.owned == ALL)
        offsets = MemberOffsets(member, "readers")
        client.codes = [14, 16, 113]
        wanted = {TopicPartition(topic, 0): OffsetAndMetadata(7, "") for topic in ("texts", "other")}
        commit = asyncio.create_task(offsets.commit(wanted))
        await until(lambda: len(client.commits) == 3)
        client.coordinator.epoch += 1
        await commit
        assert [values[1] for values in client.commits] == [1, 1, 1, 2]
        assert {topic for values in client.commits for topic, *_ in values[4]} == {"texts"}
        client.codes = [88, 14]
        assert await offsets.fetch([TopicPartition("texts", 0)]) == {TopicPartition("texts", 0): OffsetAndMetadata(5, "note")}
        client.codes = [25]
        with pytest.raises(KafkaError):
            await offsets.commit({TopicPartition("texts", 0): OffsetAndMetadata(7, "")})


async def test_a_commit_without_an_answer_leaves_the_offsets_in_doubt() -> None:
    """The request may arrive after its repetition, with an older offset. A request to read offsets changes nothing."""
    client, failures, failing = Client(Coordinator()), [KafkaConnectionError()], messages.OffsetFetch

    def fail_once(name: str) -> None:
        if name == failing.__name__ and failures:
            raise failures.pop()

    async with joining(client) as (member, one, _events):
        await until(lambda: one.owned == ALL)
        offsets = MemberOffsets(member, "readers")
        await offsets.commit({TopicPartition("texts", 0): OffsetAndMetadata(7, "")})
        client.before = fail_once
        await offsets.fetch([TopicPartition("texts", 0)])
        assert not failures
        assert not offsets.doubt.is_open
        failing = messages.OffsetCommit
        failures.append(KafkaConnectionError())
        await offsets.commit({TopicPartition("texts", 0): OffsetAndMetadata(8, "")})
        assert offsets.doubt.is_open


async def test_no_offset_is_committed_outside_of_the_group() -> None:
    client = Client(Coordinator())
    async with joining(client) as (member, listener, _):
        await until(lambda: listener.owned == ALL)
    with pytest.raises(KafkaError, match="not a member"):
        await MemberOffsets(member, "readers").fetch([TopicPartition("texts", 0)])
    await MemberOffsets(member, "readers").commit({TopicPartition("texts", 0): OffsetAndMetadata(7, "")})
    assert client.commits == []


class FixedMember:
    """A member with an epoch that the test sets."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    @property
    def identity(self) -> MemberIdentity:
        """The id and the epoch."""
        return MemberIdentity("m", self.epoch)

    async def wait_for_epoch(self, epoch: int) -> None:
        """Raise the epoch."""
        self.epoch = epoch + 1


async def test_the_offsets_of_a_transaction_name_the_member() -> None:
    """A commit with an old epoch is repeated with the new one. Outside the group no commit is sent."""
    client, request = Client(Coordinator()), TxnOffsetCommitRequest("x", "readers", 9, 2, [("texts", [(0, 7, "")])])
    member = FixedMember(3)
    producer: Any = SimpleNamespace(send=client.send)
    commit_as_member(producer, lambda: member)
    client.codes = [22]
    assert (await producer.send(1, request)).errors == [("texts", [(0, 0)])]
    assert [values[4:6] for values in client.commits] == [(3, "m"), (4, "m")]
    client.codes = [25]
    assert (await producer.send(1, request)).errors == [("texts", [(0, 25)])]
    member.epoch = 0
    assert (await producer.send(1, request)).errors == [("texts", [(0, 22)])]
    assert len(client.commits) == 3


async def test_without_a_member_the_request_of_aiokafka_is_sent() -> None:
    sent = []

    async def send(_node_id: int, request: object, **_options: Any) -> None:
        sent.append(request)

    producer: Any = SimpleNamespace(send=send)
    commit_as_member(producer, lambda: None)
    request = TxnOffsetCommitRequest("x", "readers", 9, 2, [])
    await producer.send(1, request)
    assert sent == [request]


def build_protocol_client(send: Callable[[int, object], Awaitable[Any]]) -> Any:
    """Return a client of one broker that answers with `send`."""

    async def ready(_node_id: int) -> bool:
        return True

    brokers = [SimpleNamespace(nodeId=1, host="kafka", port=9092)]
    return SimpleNamespace(cluster=SimpleNamespace(brokers=lambda: brokers), ready=ready, send=send)


NEW, OLD = {68: 1, 8: 10, 9: 10, 28: 5}, {8: 9, 9: 9, 28: 4}


@pytest.mark.parametrize(("newest", "code", "chosen"), [(NEW, 42, "consumer"), (NEW, 35, "classic"), (OLD, 0, "classic")])
async def test_auto_takes_the_consumer_protocol_where_every_broker_offers_it(
    newest: dict[int, int], code: int, chosen: GroupProtocol
) -> None:
    """Brokers answer with the code 35 as long as the protocol is turned off; `consumer` then lets the group refuse the worker."""

    async def send(_node_id: int, _request: object) -> Any:
        return SimpleNamespace(api_versions=[(key, 0, version) for key, version in newest.items()], error_code=code)

    client = build_protocol_client(send)
    assert await choose_protocol(client, "auto", group_id="readers") == ProtocolChoice(chosen)
    assert await choose_protocol(client, "classic", group_id="readers") == ProtocolChoice("classic")
    if newest is OLD:
        with pytest.raises(BrokerUnavailable, match=r"needs Kafka 4\.0 or newer, which kafka:9092 is not") as caught:
            await choose_protocol(client, "consumer", group_id="readers")
        assert caught.value.exit_code == 3
    else:
        assert await choose_protocol(client, "consumer", group_id="readers") == ProtocolChoice("consumer")


@pytest.mark.parametrize(
    ("session_timeout_ms", "group_ms", "chosen", "advice"),
    [
        (45_000, None, "consumer", ""),
        (44_999, 44_999, "consumer", ""),
        (
            6_000,
            45_000,
            "classic",
            "is below .*=45000 of the group: `gist-stream topics --create` lowers the timeout of the group",
        ),
        (6_000, None, "classic", "cannot be compared .*: give the worker the right DescribeConfigs on the group"),
    ],
)
async def test_auto_does_not_take_a_longer_session_timeout_than_the_setting(
    session_timeout_ms: int, group_ms: int | None, chosen: str, advice: str
) -> None:
    """A timeout that the worker may not read could be longer. The group is asked only below the default of the brokers."""
    asked = []

    async def send(_node_id: int, request: object) -> Any:
        asked.append(type(request).__name__)
        entries = [(SESSION_TIMEOUT, str(group_ms))]
        resource = (29, "denied", 32, "readers", []) if group_ms is None else (0, None, 32, "readers", entries)
        versions = [(key, 0, version) for key, version in NEW.items()]
        return SimpleNamespace(api_versions=versions, error_code=42, resources=[resource])

    client = build_protocol_client(send)
    choice = await choose_protocol(client, "auto", group_id="readers", session_timeout_ms=session_timeout_ms)
    assert choice.protocol == chosen
    assert re.search(advice, choice.reason)
    assert bool(choice.reason) == (chosen == "classic")
    assert ("DescribeConfigsRequest" in asked) == (session_timeout_ms < 45_000)
    num_asked = len(asked)
    assert await choose_protocol(client, "consumer", group_id="readers", session_timeout_ms=6_000) == ProtocolChoice("consumer")
    assert len(asked) == num_asked + 1

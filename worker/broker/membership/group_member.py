"""One member of a group by the consumer rebalance protocol: the tasks around `MemberState`.

One task sends the heartbeats, one at a time. Another task carries out the orders, so that heartbeats continue while
partitions are drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, IncompatibleBrokerVersion, KafkaError, UnsupportedVersionError

from worker.broker.events import BrokerEvent
from worker.broker.membership import requests
from worker.broker.membership.coordinator import CoordinatorLink
from worker.broker.membership.member_state import TRANSIENT_CODES, HeartbeatAnswer, MemberState, Pace, Partitions
from worker.broker.membership.refusals import explain_refusal
from worker.broker.timeouts import with_timeout
from worker.errors import BrokerUnavailable, ConsumerBroken, describe_error

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiokafka.client import AIOKafkaClient

    from worker.broker.events import OnEvent

# Bounds of requests, in seconds. The session timeout replaces a last heartbeat that fails.
_LEAVE_TIMEOUT_S, _METADATA_TIMEOUT_S = 2.0, 5.0
# The pause before the names of topics are asked for again, in seconds.
_METADATA_PAUSE_S = 0.2


class GroupListener(Protocol):
    """Receives the changes of a member's partitions, one call at a time, except for a loss during a revocation."""

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Read these partitions from now on. The first call may have none."""

    async def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Drain these partitions within a bound. Another member may own them after the return."""

    async def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Drop the work of these partitions. Another member may own them already."""


class ConsumerGroupMember:
    """A member from `start` to `stop`."""

    # The number of accepted heartbeats. A coordinator may compute an assignment after its answer to the join.
    _num_accepted = 0

    def __init__(
        self,
        client: AIOKafkaClient,
        subscription: requests.Subscription,
        listener: GroupListener,
        on_event: OnEvent,
        *,
        instance_id: str | None = None,
        pace: Pace | None = None,
        answer_timeout_s: float = 20.0,
        was_member: bool = False,
    ) -> None:
        """Use the connections of `client`. Each object has a new member id.

        After `answer_timeout_s` without an answer to a heartbeat, the next one uses a new connection. The time includes the login
        of a new connection. `was_member` tells whether the group has accepted the worker before.
        """
        self._client = client
        self._subscription = subscription
        self._listener = listener
        self._on_event = on_event
        self._member_id = str(uuid.uuid4())
        self._instance_id = instance_id
        self._state = MemberState(is_static=instance_id is not None, pace=pace)
        #: The time for the answer to a heartbeat, in seconds.
        self.answer_timeout_s = answer_timeout_s
        self.coordinator = CoordinatorLink(client, subscription.group_id)
        # The names of the topics, by id.
        self._names: dict[uuid.UUID, str] = {}
        # Set when the next heartbeat or the orders may have changed.
        self._beats_again, self._has_orders = asyncio.Event(), asyncio.Event()
        # Notified after each answer.
        self._answered = asyncio.Condition()
        #: Whether the group has accepted the worker.
        self.was_member = was_member
        # Whether the listener has received the first assignment.
        self._is_told = False
        # The broker's words for the last error.
        self._error_message = ""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def identity(self) -> requests.MemberIdentity:
        """What a request says about the member. The epoch is 0 outside the group."""
        return requests.MemberIdentity(self._member_id, self._state.epoch, self._instance_id)

    def owns(self, partition: TopicPartition) -> bool:
        """Tell whether the member reads or drains a partition."""
        owned, index = self._state.owned, partition.partition
        return any(name == partition.topic and (topic_id, index) in owned for topic_id, name in self._names.items())

    def start(self) -> None:
        """Begin to join."""
        self._tasks = {
            "heartbeat": asyncio.create_task(self._send_heartbeats()),
            "reconciliation": asyncio.create_task(self._carry_out_orders()),
        }

    async def stop(self) -> None:
        """Leave the group within a bound. The caller has released all partitions."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        epoch = self._state.leave()
        if epoch is not None:
            member = requests.MemberIdentity(self._member_id, epoch, self._instance_id)
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await self.coordinator.send(requests.build_leave(self._subscription.group_id, member), _LEAVE_TIMEOUT_S)

    def check(self) -> None:
        """Raise `BrokerUnavailable` for a refusal of the first membership, and `ConsumerBroken` for a later failure."""
        if self._state.refusal is not None:
            refusal = explain_refusal(
                self._state.refusal, self._error_message, group_id=self._subscription.group_id, instance_id=self._instance_id
            )
            raise ConsumerBroken(refusal) if self.was_member else BrokerUnavailable(refusal)
        for name, task in self._tasks.items():
            if task.done():
                error = None if task.cancelled() else task.exception()
                raise ConsumerBroken(f"the {name} task of the group has died: {error and describe_error(error)}") from error

    async def wait_for_epoch(self, epoch: int) -> None:
        """Return when the member has another epoch than `epoch`."""
        async with self._answered:
            await self._answered.wait_for(lambda: self._state.epoch != epoch)

    # ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _send_heartbeats(self) -> None:
        while True:
            due_s, now_s = self._state.next_heartbeat_s(time.monotonic()), time.monotonic()
            if due_s is None or due_s > now_s:
                with contextlib.suppress(TimeoutError):
                    await with_timeout(3600.0 if due_s is None else due_s - now_s, self._beats_again.wait())
            self._beats_again.clear()
            due_s = self._state.next_heartbeat_s(time.monotonic())
            if due_s is not None and due_s <= time.monotonic():
                await self._send_heartbeat()

    async def _send_heartbeat(self) -> None:
        was_in_use = self._state.is_instance_in_use
        heartbeat = self._state.build_heartbeat(time.monotonic())
        try:
            request = requests.build_heartbeat(self._subscription, self.identity, heartbeat)
            response = await self.coordinator.send(request, self.answer_timeout_s)
        except GroupAuthorizationFailedError as error:
            self._accept(HeartbeatAnswer(error.errno))
        except IncompatibleBrokerVersion:
            self._accept(HeartbeatAnswer(UnsupportedVersionError.errno))
        except (KafkaError, OSError, TimeoutError):
            self._state.note_unanswered()
        else:
            self._error_message = response.error_message or ""
            self._accept(requests.read_heartbeat(response))
        if self._state.is_instance_in_use and not was_in_use:
            self._on_event(BrokerEvent.INSTANCE_ID_IN_USE, group_instance_id=self._instance_id, reason=self._error_message)
        self._has_orders.set()
        async with self._answered:
            self._answered.notify_all()

    def _accept(self, answer: HeartbeatAnswer) -> None:
        if answer.code in TRANSIENT_CODES:
            self.coordinator.forget()
        self.was_member |= not answer.code
        self._num_accepted += not answer.code
        self._state.accept(answer, time.monotonic())

    # ── orders ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _carry_out_orders(self) -> None:
        while True:
            await self._has_orders.wait()
            self._has_orders.clear()
            orders = self._state.find_orders(frozenset(self._names))
            if orders.lose:
                await self._listener.lost(self._name_all(orders.lose))
                self._state.note_released(orders.lose)
            elif orders.revoke:
                await self._revoke(orders.revoke)
            elif orders.take or self._is_without_partitions():
                self._is_told = True
                self._state.note_taken(orders.take)
                self._listener.assigned(self._name_all(orders.take))
            if orders.lose or orders.revoke or orders.take:
                self._has_orders.set()
                self._beats_again.set()
            elif unknown := self._state.find_unknown_topics(frozenset(self._names)):
                await self._find_names(unknown)

    def _is_without_partitions(self) -> bool:
        """Tell whether the first assignment is known and has no partitions, which the listener has not received."""
        is_settled = self._num_accepted > 1 and self._state.epoch > 0
        return is_settled and not self._is_told and not self._state.find_unknown_topics(frozenset(self._names))

    async def _revoke(self, partitions: Partitions) -> None:
        """Drain partitions. If the group removes the member meanwhile, all partitions are lost at once, which ends the drain."""
        draining = asyncio.create_task(self._listener.revoked(self._name_all(partitions)))
        try:
            while not draining.done() and not self._state.find_orders(frozenset()).lose:
                changed = asyncio.create_task(self._has_orders.wait())
                try:
                    await asyncio.wait([draining, changed], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                self._has_orders.clear()
            if lost := self._state.find_orders(frozenset()).lose:
                await self._listener.lost(self._name_all(lost))
            await draining
            self._state.note_released(lost or partitions)
        finally:
            draining.cancel()
            await asyncio.wait([draining])

    async def _find_names(self, topic_ids: Collection[uuid.UUID]) -> None:
        """Ask a broker for the names of topics. A topic that was just created may need some attempts."""
        request = requests.build_metadata(topic_ids=topic_ids)
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            response = await with_timeout(_METADATA_TIMEOUT_S, self._client.send(self._client.get_random_node(), request))
            self._names |= {topic.topic_id: topic.name for topic in requests.read_topics(response)}
        if not self._names.keys() & topic_ids:
            await asyncio.sleep(_METADATA_PAUSE_S)
        self._has_orders.set()

    def _name(self, partition: tuple[uuid.UUID, int]) -> TopicPartition:
        return TopicPartition(self._names[partition[0]], partition[1])

    def _name_all(self, partitions: Partitions) -> list[TopicPartition]:
        return sorted(map(self._name, partitions))

"""Whether the group takes the worker as a member: asked before the worker joins, and noticed while the worker is a member.

Kafka's client joins again at once after most refusals, for ever and without a pause. A refusal that no repetition mends is held
here as one line that says what to do; the consumer is built anew after a pause then.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.client import CoordinationType
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    MemberIdRequired,
    NoError,
    RebalanceInProgressError,
    UnknownError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from worker.broker.admin.permissions import Right, check_access
from worker.broker.admin.topics import admin_client
from worker.broker.patches.error_codes import FencedInstanceId, GroupMaxSizeReached
from worker.errors import BrokerUnavailable, ConsumerBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.client import AIOKafkaClient

    from worker.broker.connection.connection import Connection

# Part of every membership: these answers ask for another request, and are no refusal. The broker's own faults may pass.
_USUAL = (NoError, IllegalGenerationError, MemberIdRequired, RebalanceInProgressError, UnknownError, UnknownMemberIdError)
# A coordinator that is only just taking over says so; between two questions, in seconds, and how often it is asked.
_PAUSE_S, _MAX_ATTEMPTS = 0.2, 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a member says of itself when it joins its group."""

    topics: Sequence[str]
    group_id: str
    group_instance_id: str | None = None
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 1_000
    rebalance_timeout_ms: int = 60_000

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that Kafka's client takes of these."""
        return {name: value for name, value in asdict(self).items() if name != "topics"}

    def refusal(self, code: int) -> str | None:
        """Return why the group refuses this member, and what to do, by the code of an answer; None where it does not."""
        error = for_code(code)
        if error.retriable or issubclass(error, _USUAL):
            return None
        reasons = {
            InconsistentGroupProtocolError: (
                f"its members share the partitions in another way than this worker ({RoundRobinPartitionAssignor.name}): another "
                "program uses this group. Set GIST_GROUP_ID to a group of this worker's own, or stop the other program"
            ),
            InvalidGroupIdError: "the broker does not take this name: set GIST_GROUP_ID to another one",
            InvalidSessionTimeoutError: (
                f"GIST_SESSION_TIMEOUT_MS={self.session_timeout_ms} is outside of the broker's bounds: set it between the broker's "
                "group.min.session.timeout.ms and group.max.session.timeout.ms"
            ),
            GroupMaxSizeReached: (
                "it has as many members as the broker allows: run fewer workers, or raise the broker's group.max.size"
            ),
            FencedInstanceId: (
                f"another process is the member with GIST_GROUP_INSTANCE_ID={self.group_instance_id}: give each worker an id of "
                "its own, or stop the other process"
            ),
            GroupAuthorizationFailedError: "the broker does not allow us Read on the group; docs/security.md lists what is needed",
        }
        return f"the group {self.group_id} refuses us: {reasons.get(error, str(error()))}"

    def request(self) -> JoinGroupRequest:
        """Return a request to join as a member that the group does not know, and that takes no other member's place."""
        assignor = RoundRobinPartitionAssignor
        return JoinGroupRequest(
            self.group_id,
            self.session_timeout_ms,
            self.rebalance_timeout_ms,
            JoinGroupRequest.UNKNOWN_MEMBER_ID,
            None,
            ConsumerProtocol.PROTOCOL_TYPE,
            [(assignor.name, assignor.metadata(self.topics).encode())],
        )


async def check_group(connection: Connection, membership: Membership) -> None:
    """Join the group once and leave it; raises `BrokerUnavailable` where the group refuses us.

    A broker looks at everything that it may refuse before it gives a new member its id and asks the member to join again with this
    id. A group that has other members rebalances once when that id is given back. Only a clear refusal counts.
    """
    async with admin_client(connection) as admin:
        client = admin._client  # noqa: SLF001  the admin client has no such question
        await check_access(connection, client, [Right("Read", "group", membership.group_id)])
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                code = await _join_and_leave(client, membership)
                break
            except KafkaError as error:
                if not error.retriable:
                    raise
            await asyncio.sleep(_PAUSE_S)
        else:
            code = await _join_and_leave(client, membership)
    if refusal := membership.refusal(code):
        raise BrokerUnavailable(refusal)


async def _join_and_leave(client: AIOKafkaClient, membership: Membership) -> int:
    """Return the code of the answer to a new member; raises the client's `KafkaError` where the coordinator is not there yet."""
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, membership.group_id)
    answer = await client.send(coordinator, membership.request())
    if for_code(answer.error_code).retriable:
        raise for_code(answer.error_code)
    if answer.member_id:
        await client.send(coordinator, LeaveGroupRequest(membership.group_id, answer.member_id))
    return int(answer.error_code)


class RefusalDetector:
    """Watches the answers to a member's requests for the refusals that the client would answer by joining again."""

    def __init__(self, membership: Membership) -> None:
        """Watch over this membership."""
        self._membership = membership
        # Why the group refuses us; None while it does not.
        self.refusal: str | None = None
        # Whether the group has ever taken us.
        self._was_member = False
        # When the last heartbeat was accepted, in seconds of `time.monotonic`.
        self._beat_s = -float("inf")

    def check(self) -> None:
        """Raise `ConsumerBroken` where the group refuses us, and `BrokerUnavailable` where it has never taken us."""
        if self.refusal:
            raise ConsumerBroken(self.refusal) if self._was_member else BrokerUnavailable(self.refusal)

    def note(self, request: object, answer: Any) -> None:
        """Take in an answer."""
        if not isinstance(request, JoinGroupRequest | SyncGroupRequest | HeartbeatRequest):
            return
        code = int(answer.error_code)
        self._was_member |= isinstance(request, SyncGroupRequest) and code == NoError.errno
        if refusal := self._membership.refusal(self._replaced(code) if isinstance(request, HeartbeatRequest) else code):
            self.refusal = refusal

    def _replaced(self, code: int) -> int:
        """Return the code of a heartbeat's answer; an unknown member that was known a moment ago was replaced by its namesake.

        The client's heartbeats do not carry the id of the member, so that the broker cannot say it.
        """
        now_s, session_timeout_s = time.monotonic(), self._membership.session_timeout_ms / 1000
        if code == NoError.errno:
            self._beat_s = now_s
        is_static, was_known = self._membership.group_instance_id is not None, now_s - self._beat_s < session_timeout_s / 2
        return FencedInstanceId.errno if code == UnknownMemberIdError.errno and is_static and was_known else code

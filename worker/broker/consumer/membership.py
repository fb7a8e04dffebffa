"""The membership in a consumer group, and the group's refusals.

After most refusals aiokafka joins again at once, without a pause and without end. `RefusalDetector` keeps a refusal
that a repetition does not resolve, with one line of advice. Then the consumer is replaced after a pause.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    MemberIdRequired,
    NoError,
    RebalanceInProgressError,
    UnknownError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest

from worker.broker.patches.error_codes import FencedInstanceId, GroupMaxSizeReached
from worker.errors import BrokerUnavailable, ConsumerBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

# The errors that belong to every membership, because they ask for another request, and faults of the broker. They are no refusals.
_EXPECTED_ERRORS = (NoError, IllegalGenerationError, MemberIdRequired, RebalanceInProgressError, UnknownError, UnknownMemberIdError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The parameters with which a member joins its group."""

    topics: Sequence[str]
    group_id: str
    group_instance_id: str | None = None
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 500
    rebalance_timeout_ms: int = 60_000

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of `AIOKafkaConsumer`."""
        return {name: value for name, value in asdict(self).items() if name != "topics"}

    def explain_refusal(self, code: int) -> str | None:
        """Return the reason for the error code of a response and what to do, or None if the code is no refusal."""
        error = for_code(code)
        if error.retriable or issubclass(error, _EXPECTED_ERRORS):
            return None
        reasons = {
            InconsistentGroupProtocolError: (
                f"its members use another assignment strategy than this worker ({RoundRobinPartitionAssignor.name}): another "
                "program uses this group. Set GIST_GROUP_ID to a group for this worker only, or stop the other program"
            ),
            InvalidGroupIdError: "the name is invalid: set GIST_GROUP_ID to another one",
            InvalidSessionTimeoutError: (
                f"GIST_SESSION_TIMEOUT_MS={self.session_timeout_ms} is outside the broker's limits: choose a value between its "
                "group.min.session.timeout.ms and group.max.session.timeout.ms"
            ),
            GroupMaxSizeReached: (
                "the group has the maximum number of members: run fewer workers, or raise the broker's group.max.size"
            ),
            FencedInstanceId: (
                f"another process has joined with GIST_GROUP_INSTANCE_ID={self.group_instance_id}: give each worker a unique id, "
                "or stop the other process"
            ),
            GroupAuthorizationFailedError: (
                "the worker needs the right Read on the group; docs/operate/security.md lists all rights"
            ),
        }
        return f"the group {self.group_id} refuses this worker: {reasons.get(error, str(error()))}"

    def build_join_request(self, protocol_type: str = ConsumerProtocol.PROTOCOL_TYPE) -> JoinGroupRequest:
        """Return a request to join as a new, dynamic member. Such a member replaces no other member."""
        assignor = RoundRobinPartitionAssignor
        return JoinGroupRequest(
            self.group_id,
            self.session_timeout_ms,
            self.rebalance_timeout_ms,
            JoinGroupRequest.UNKNOWN_MEMBER_ID,
            None,
            protocol_type,
            [(assignor.name, assignor.metadata(self.topics).encode())],
        )


class RefusalDetector:
    """Finds refusals in the responses to a member's requests. aiokafka would answer a refusal by joining again."""

    def __init__(self, membership: Membership) -> None:
        """Start without a refusal; `membership` explains the error codes."""
        self._membership = membership
        # The reason of the refusal, or None.
        self.refusal: str | None = None
        # Whether the group has accepted the worker since the creation of this object.
        self._was_member = False
        # The time of the last accepted heartbeat, in seconds of `time.monotonic`.
        self._last_heartbeat_s = -float("inf")

    def check(self) -> None:
        """Raise `BrokerUnavailable` for a refusal of the first membership, and `ConsumerBroken` for a later refusal."""
        if self.refusal:
            raise ConsumerBroken(self.refusal) if self._was_member else BrokerUnavailable(self.refusal)

    def observe(self, request: object, response: Any) -> None:
        """Examine a request and its response."""
        if not isinstance(request, JoinGroupRequest | SyncGroupRequest | HeartbeatRequest):
            return
        code = int(response.error_code)
        self._was_member |= isinstance(request, SyncGroupRequest) and code == NoError.errno
        if isinstance(request, HeartbeatRequest):
            code = self._correct_heartbeat_code(code)
        self.refusal = self._membership.explain_refusal(code) or self.refusal

    def _correct_heartbeat_code(self, code: int) -> int:
        """Return FENCED_INSTANCE_ID for a static member that became unknown shortly after an accepted heartbeat.

        aiokafka sends heartbeats without the instance id, so the broker answers UNKNOWN_MEMBER_ID in this case.
        """
        now_s, session_timeout_s = time.monotonic(), self._membership.session_timeout_ms / 1000
        if code == NoError.errno:
            self._last_heartbeat_s = now_s
        is_static, was_known = (
            self._membership.group_instance_id is not None,
            now_s - self._last_heartbeat_s < session_timeout_s / 2,
        )
        return FencedInstanceId.errno if code == UnknownMemberIdError.errno and is_static and was_known else code

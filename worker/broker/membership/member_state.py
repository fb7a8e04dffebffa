"""The state of one member of a group by the consumer rebalance protocol (KIP-848). Pure: time is an argument, and nothing waits.

    joining ──▶ stable ──▶ revoking ──▶ acknowledging ──▶ stable
       ▲                      │ fenced or unknown
       └──────── losing ◀─────┘

The coordinator sends a target assignment, and the member reports the partitions that it owns. Partitions that are not in
the target are drained first; the report without them is the acknowledgement. New partitions are owned at once. One
heartbeat is open at a time.

The caller sends `build_heartbeat` when `next_heartbeat_s` has come, and passes the result to `accept` or
`note_unanswered`. After each event it carries out `find_orders`, and reports each order that is done with
`note_released` or `note_taken`.
"""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from typing import TypeAlias

#: A partition as heartbeats name it: the id of the topic, and the index.
TopicIdPartition: TypeAlias = tuple[uuid.UUID, int]
Partitions: TypeAlias = frozenset[TopicIdPartition]

NO_PARTITIONS: Partitions = frozenset()
#: The epochs with a meaning: join, leave, and leave for at most a session timeout, as a static member.
JOIN, LEAVE, LEAVE_TEMPORARILY = 0, -1, -2
#: The coordinator is another broker, is not ready, or has failed: the membership has not changed. In this order:
#: UNKNOWN_SERVER_ERROR, REQUEST_TIMED_OUT, NETWORK_EXCEPTION, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE,
#: NOT_COORDINATOR.
TRANSIENT_CODES = frozenset({-1, 7, 13, 14, 15, 16})
UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH, UNRELEASED_INSTANCE_ID = 25, 110, 111
# The time between two heartbeats until the coordinator names its interval.
_FIRST_INTERVAL_S = 1.0


class Phase(enum.Enum):
    """Where a member is in the protocol."""

    JOINING = enum.auto()
    STABLE = enum.auto()
    REVOKING = enum.auto()
    ACKNOWLEDGING = enum.auto()
    LOSING = enum.auto()
    LEFT = enum.auto()
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The times between heartbeats, in seconds."""

    #: The longest time between two heartbeats. The coordinator may ask for a shorter time.
    interval_s: float = 1.0
    #: The time between two heartbeats for `settling_s` after a change: partitions that others release come with a heartbeat.
    settling_interval_s: float = 0.25
    settling_s: float = 10.0
    #: The first and the longest pause after a heartbeat without an answer, and while another member has the instance id.
    first_pause_s: float = 0.1
    max_pause_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the next heartbeat reports."""

    epoch: int
    #: Whether all fields are sent. The coordinator answers such a heartbeat with the whole assignment.
    is_full: bool
    #: The owned partitions; None if they have not changed since the last answer.
    owned: Partitions | None


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """The answer of a coordinator. `target` is None if the target assignment has not changed."""

    code: int
    epoch: int = 0
    interval_s: float = 5.0
    target: Partitions | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What the caller has to do now. At most one of the sets has partitions."""

    #: Drop the work of these partitions without a commit: another member may own them.
    lose: Partitions = NO_PARTITIONS
    #: Drain these partitions and commit their offsets.
    revoke: Partitions = NO_PARTITIONS
    #: Start to read these partitions.
    take: Partitions = NO_PARTITIONS


class MemberState:
    """The state of one member. Its `epoch` is part of every commit; an epoch of 0 or below commits nothing."""

    def __init__(self, *, is_static: bool = False, pace: Pace | None = None) -> None:
        """Start outside the group."""
        self._is_static = is_static
        self._pace = pace or Pace()
        self.epoch = JOIN
        #: The partitions that the member reads or drains.
        self.owned = NO_PARTITIONS
        #: The error code of the coordinator that no repetition resolves, or None.
        self.refusal: int | None = None
        #: Whether another member has the instance id.
        self.is_instance_in_use = False
        # The partitions that the coordinator wants the member to own; None before its first answer.
        self._target: Partitions | None = None
        # The owned partitions that the coordinator knows of; None if an answer is missing.
        self._reported: Partitions | None = None
        # The owned partitions of the open heartbeat.
        self._sent = NO_PARTITIONS
        self._is_losing = False
        # Whether the coordinator may know the member: a request to join may have arrived.
        self._may_be_known = False
        self._has_left = False
        self._interval_s = _FIRST_INTERVAL_S
        self._settles_until_s = -float("inf")
        self._last_heartbeat_s = -float("inf")
        # The length of the current pause; 0 after an answer.
        self._pause_s = 0.0

    @property
    def phase(self) -> Phase:
        """Where the member is in the protocol."""
        if self._has_left or self.refusal is not None:
            return Phase.LEFT if self._has_left else Phase.REFUSED
        if self._is_losing:
            return Phase.LOSING
        if self.epoch == JOIN:
            return Phase.JOINING
        if self.owned - (self._target or NO_PARTITIONS):
            return Phase.REVOKING
        return Phase.STABLE if self._reported == self.owned else Phase.ACKNOWLEDGING

    def next_heartbeat_s(self, now_s: float) -> float | None:
        """Return the time of the next heartbeat, on the clock of `now_s`; None if no heartbeat is due until another event."""
        if self.phase in {Phase.LEFT, Phase.REFUSED, Phase.LOSING}:
            return None
        if self._pause_s:
            return self._last_heartbeat_s + self._pause_s
        if self._reported != self.owned:
            return now_s
        interval_s = min(self._interval_s, self._pace.interval_s)
        if now_s < self._settles_until_s:
            interval_s = min(interval_s, self._pace.settling_interval_s)
        return self._last_heartbeat_s + interval_s

    def build_heartbeat(self, now_s: float) -> Heartbeat:
        """Return the next heartbeat. `accept` or `note_unanswered` must follow."""
        self._last_heartbeat_s, self._may_be_known = now_s, True
        if self.epoch == JOIN:
            # A new member owns nothing: the coordinator refuses anything else.
            self._sent = NO_PARTITIONS
            return Heartbeat(JOIN, is_full=True, owned=NO_PARTITIONS)
        self._sent = self.owned
        # After a lost answer the epoch may be one behind. The coordinator accepts the old epoch only with the owned partitions.
        is_full = self._reported is None
        return Heartbeat(self.epoch, is_full=is_full, owned=self.owned if is_full or self._reported != self.owned else None)

    def note_unanswered(self) -> None:
        """Note that it is unknown whether the coordinator received the open heartbeat. The next heartbeat reports everything."""
        self._reported = None
        self._pause_s = min(self._pace.max_pause_s, max(self._pace.first_pause_s, 2 * self._pause_s))

    def accept(self, answer: HeartbeatAnswer, now_s: float) -> None:
        """Take in the answer to the open heartbeat."""
        if answer.code in TRANSIENT_CODES:
            self.note_unanswered()
        elif answer.code in {UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH}:
            self._leave_group()
        elif answer.code == UNRELEASED_INSTANCE_ID:
            # The member with the instance id was killed, or it is another process. The session timeout decides.
            self.note_unanswered()
            self.is_instance_in_use, self._may_be_known = True, False
        elif answer.code:
            self._leave_group()
            self.refusal = answer.code
        else:
            self._take_in(answer, now_s)

    def _take_in(self, answer: HeartbeatAnswer, now_s: float) -> None:
        has_changed = answer.epoch != self.epoch or answer.target not in {None, self._target}
        self._pause_s, self.is_instance_in_use = 0.0, False
        self._interval_s = answer.interval_s
        self._reported, self.epoch = self._sent, answer.epoch
        if answer.target is not None:
            # The coordinator waits for a report without these, even if the member has never taken them.
            self._reported |= (self._target or NO_PARTITIONS) - answer.target
            self._target = answer.target
        if has_changed:
            self._settles_until_s = now_s + self._pace.settling_s

    def _leave_group(self) -> None:
        self.epoch, self._target = JOIN, None
        self._is_losing, self._may_be_known = bool(self.owned), False
        # A coordinator that removes the member again and again is asked less and less often.
        self.note_unanswered()

    def find_orders(self, known_topics: frozenset[uuid.UUID]) -> Orders:
        """Return what the caller has to do. Partitions of topics that are not `known_topics` are not taken yet."""
        if self._is_losing:
            return Orders(lose=self.owned)
        if self._target is None or self._has_left:
            return Orders()
        if revoked := self.owned - self._target:
            return Orders(revoke=revoked)
        return Orders(take=frozenset(partition for partition in self._target - self.owned if partition[0] in known_topics))

    def find_unknown_topics(self, known_topics: frozenset[uuid.UUID]) -> frozenset[uuid.UUID]:
        """Return the topics of the target whose names the caller has to find."""
        return frozenset(topic_id for topic_id, _ in self._target or ()) - known_topics

    def note_released(self, partitions: Partitions) -> None:
        """Note that the order to lose or to revoke these partitions is done."""
        self.owned -= partitions
        self._is_losing = self._is_losing and bool(self.owned)

    def note_taken(self, partitions: Partitions) -> None:
        """Note that these partitions are read from now on."""
        self.owned |= partitions

    def leave(self) -> int | None:
        """Leave the group, after all partitions were released. Return the epoch of the last heartbeat, or None to send none."""
        must_tell, self._has_left = self._may_be_known and not self._has_left, True
        self.epoch, self.owned, self._target = JOIN, NO_PARTITIONS, None
        return (LEAVE_TEMPORARILY if self._is_static else LEAVE) if must_tell else None

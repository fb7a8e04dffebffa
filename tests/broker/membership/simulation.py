"""Members against a model of the coordinator. Requests and answers are lost or late, and members die, freeze and leave.

The model does with heartbeats what `GroupMetadataManager` and `CurrentAssignmentBuilder` of Kafka 4.3 do. After each step no
partition is owned by two members that the coordinator knows. A member that it does not know is a zombie: its commits are refused.
After the faults every partition is owned by exactly one member, and no member is in between.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field

from worker.broker.membership.member_state import (
    FENCED_MEMBER_EPOCH,
    JOIN,
    LEAVE_TEMPORARILY,
    NO_PARTITIONS,
    UNKNOWN_MEMBER_ID,
    UNRELEASED_INSTANCE_ID,
    Heartbeat,
    HeartbeatAnswer,
    MemberState,
    Partitions,
    Phase,
)

TOPIC = uuid.UUID(int=1)
KNOWN_TOPICS = frozenset({TOPIC})
ALL_PARTITIONS: Partitions = frozenset((TOPIC, index) for index in range(8))
FENCED_INSTANCE_ID = 82
TRANSIENT = (14, 15, 16)


@dataclass
class KnownMember:
    """The coordinator's state of a member."""

    instance_id: str | None
    epoch: int = 0
    previous_epoch: int = 0
    is_revoking: bool = False
    is_complete: bool = True
    is_away: bool = False
    assigned: Partitions = NO_PARTITIONS
    revoking: Partitions = NO_PARTITIONS
    # The number of heartbeats since the member was asked to revoke.
    num_beats: int = 0


@dataclass
class Coordinator:
    """The coordinator of one group."""

    members: dict[str, KnownMember] = field(default_factory=dict)
    epoch: int = 0
    target: dict[str, Partitions] = field(default_factory=dict)

    def heartbeat(self, name: str, instance_id: str | None, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Return the answer to a heartbeat."""
        if heartbeat.epoch < 0:
            return self._leave(name, heartbeat.epoch)
        if instance_id is not None and (refusal := self._check_instance(name, instance_id, heartbeat.epoch)):
            return HeartbeatAnswer(refusal)
        member = self.members.get(name)
        if member is None:
            if heartbeat.epoch != JOIN:
                return HeartbeatAnswer(UNKNOWN_MEMBER_ID)
            member = self._add(name, instance_id)
        elif heartbeat.epoch > member.epoch:
            return HeartbeatAnswer(FENCED_MEMBER_EPOCH)
        elif JOIN != heartbeat.epoch < member.epoch:
            owned = heartbeat.owned
            if heartbeat.epoch != member.previous_epoch or owned is None or not owned <= member.assigned:
                return HeartbeatAnswer(FENCED_MEMBER_EPOCH)
        before = member.assigned
        self._reconcile(name, member, heartbeat.owned)
        is_told = heartbeat.epoch == JOIN or heartbeat.is_full or member.assigned != before
        return HeartbeatAnswer(0, member.epoch, 5.0, member.assigned if is_told else None)

    def remove(self, name: str) -> None:
        """Remove a member, as after its session timeout or its rebalance timeout."""
        if self.members.pop(name, None) is not None:
            self._retarget()

    def _check_instance(self, name: str, instance_id: str, epoch: int) -> int:
        owner = next((other for other, member in self.members.items() if member.instance_id == instance_id), None)
        if owner is None or owner == name:
            return 0
        if epoch != JOIN:
            return FENCED_INSTANCE_ID
        return 0 if self.members[owner].is_away else UNRELEASED_INSTANCE_ID

    def _leave(self, name: str, epoch: int) -> HeartbeatAnswer:
        if name not in self.members:
            return HeartbeatAnswer(UNKNOWN_MEMBER_ID)
        if epoch == LEAVE_TEMPORARILY:
            self.members[name].is_away = True
        else:
            self.remove(name)
        return HeartbeatAnswer(0, epoch)

    def _add(self, name: str, instance_id: str | None) -> KnownMember:
        away = next((other for other, member in self.members.items() if instance_id and member.instance_id == instance_id), None)
        member = self.members[name] = KnownMember(instance_id)
        if away is None:
            self._retarget()
            return member
        # The successor of a static member takes its place.
        predecessor = self.members.pop(away)
        member.assigned, member.epoch = predecessor.assigned, predecessor.epoch
        self.target[name] = self.target.pop(away)
        member.is_complete = False
        return member

    def _retarget(self) -> None:
        """Share the partitions evenly, and move few."""
        self.epoch += 1
        names = sorted(self.members, key=lambda name: (-len(self.target.get(name, NO_PARTITIONS)), name))
        shares = {
            name: len(ALL_PARTITIONS) // len(names) + (number < len(ALL_PARTITIONS) % len(names))
            for number, name in enumerate(names)
        }
        kept = {name: set(sorted(self.target.get(name, NO_PARTITIONS))[:share]) for name, share in shares.items()}
        free = sorted(ALL_PARTITIONS - set().union(*kept.values()))
        for name, share in shares.items():
            while len(kept[name]) < share:
                kept[name].add(free.pop())
        self.target = {name: frozenset(partitions) for name, partitions in kept.items()}

    def _reconcile(self, name: str, member: KnownMember, owned: Partitions | None) -> None:
        if not member.is_revoking and member.is_complete and member.epoch == self.epoch:
            return
        if member.is_revoking and (owned is None or owned & member.revoking):
            member.num_beats += 1
            return
        wanted = self.target[name]
        kept, leaving = member.assigned & wanted, member.assigned - wanted
        if leaving and (owned is None or owned & leaving):
            member.is_revoking, member.assigned, member.revoking, member.num_beats = True, kept, leaving, 0
            return
        others = (other for other_name, other in self.members.items() if other_name != name)
        taken = frozenset(partition for other in others for partition in other.assigned | other.revoking)
        member.is_revoking, member.revoking = False, NO_PARTITIONS
        member.assigned = kept | (wanted - kept - taken)
        member.is_complete = member.assigned == wanted
        if member.epoch != self.epoch:
            member.previous_epoch, member.epoch = member.epoch, self.epoch


class Process:
    """One worker: a member, and the partitions that it drains."""

    def __init__(self, name: str, instance_id: str | None, state: MemberState) -> None:
        self.name = name
        self.instance_id = instance_id
        self.state = state
        self.draining = NO_PARTITIONS
        self.is_frozen = False
        self.has_lost_answer = False

    def carry_out(self) -> None:
        """Carry out the orders. A drain ends later."""
        orders = self.state.find_orders(KNOWN_TOPICS)
        if orders.lose:
            self.draining = NO_PARTITIONS
            self.state.note_released(orders.lose)
        elif self.draining:
            return
        elif orders.revoke:
            self.draining = orders.revoke
        elif orders.take:
            self.state.note_taken(orders.take)

    def end_drain(self) -> None:
        """End the drain."""
        self.state.note_released(self.draining)
        self.draining = NO_PARTITIONS
        self.carry_out()


class World:
    """The group, its members, and the network between them, with a seeded order of events."""

    def __init__(self, seed: int, *, max_revoking_beats: int = 12, only_loses_answers: bool = False) -> None:
        """`only_loses_answers`: members join and leave, and of each two consecutive answers at most one is lost."""
        self.only_loses_answers = only_loses_answers
        self.random = random.Random(seed)  # noqa: S311
        self.coordinator = Coordinator()
        self.processes: dict[str, Process] = {}
        self.max_revoking_beats = max_revoking_beats
        self.num_born = 0
        self.now_s = 0.0
        # What happened, by name of the event.
        self.counts: dict[str, int] = {}

    def run(self, num_steps: int) -> None:
        """Run with faults, then without faults until the group is stable."""
        for _ in range(num_steps):
            self._step_with_faults()
            self._check_owners()
        for process in self.processes.values():
            process.is_frozen = False
        for name in self.coordinator.members.keys() - self.processes.keys():
            self.coordinator.remove(name)
        for _ in range(250):
            self._step(has_faults=False)
            self._check_owners()
        states = [process.state for process in self.processes.values()]
        alive = [state for state in states if state.phase is not Phase.REFUSED and not state.is_instance_in_use]
        assert all(state.phase is Phase.STABLE for state in alive), [state.phase for state in alive]
        if alive:
            assert sorted(partition for state in alive for partition in state.owned) == sorted(ALL_PARTITIONS)

    def _step_with_faults(self) -> None:
        dice, names = self.random.random(), sorted(self.processes)
        if len(names) < 4 and (dice < 0.03 or not names):
            self._start()
        elif dice < 0.05 and len(names) > 1:
            self._leave(self.processes.pop(self.random.choice(names)))
        elif self.only_loses_answers or dice > 0.10:
            self._step(has_faults=True)
        elif dice < 0.06 and len(names) > 1:
            del self.processes[self.random.choice(names)]
            self._count("killed")
        elif dice < 0.08 and self.coordinator.members:
            self.coordinator.remove(self.random.choice(sorted(self.coordinator.members)))
            self._count("session timeout")
        else:
            process = self.processes[self.random.choice(names)]
            process.is_frozen = not process.is_frozen

    def _start(self) -> None:
        self.num_born += 1
        name = f"member-{self.num_born}"
        instance_id = None if self.only_loses_answers else self.random.choice([None, "pod-0", "pod-1"])
        self.processes[name] = Process(name, instance_id, MemberState(is_static=instance_id is not None))

    def _leave(self, process: Process) -> None:
        """Leave as the worker does: also during a join, whose answer is then unknown."""
        if self.random.random() < 0.3 and process.state.next_heartbeat_s(self.now_s) is not None:
            self.coordinator.heartbeat(process.name, process.instance_id, process.state.build_heartbeat(self.now_s))
            self._count("left during a heartbeat")
        process.state.note_released(process.state.owned)
        epoch = process.state.leave()
        assert process.state.next_heartbeat_s(self.now_s) is None
        if epoch is not None:
            self.coordinator.heartbeat(process.name, process.instance_id, Heartbeat(epoch, is_full=False, owned=None))
        known = self.coordinator.members.get(process.name)
        assert known is None or known.is_away, "a member that left is still known"

    def _step(self, *, has_faults: bool) -> None:
        self.now_s += 1.0
        awake = [process for _, process in sorted(self.processes.items()) if not process.is_frozen]
        if not awake:
            return
        process = self.random.choice(awake)
        if process.draining and self.random.random() < 0.4:
            process.end_drain()
            self._count("drained")
        else:
            self._beat(process, has_faults=has_faults)
        process.carry_out()

    def _beat(self, process: Process, *, has_faults: bool) -> None:
        state, fate = process.state, self.random.random() if has_faults else 1.0
        if state.next_heartbeat_s(self.now_s) is None:
            return
        heartbeat = state.build_heartbeat(self.now_s)
        if fate < 0.10:
            state.note_unanswered()
        elif fate < 0.16:
            state.accept(HeartbeatAnswer(self.random.choice(TRANSIENT)), self.now_s)
        else:
            answer = self.coordinator.heartbeat(process.name, process.instance_id, heartbeat)
            known = self.coordinator.members.get(process.name)
            if known is not None and known.is_revoking and known.num_beats > self.max_revoking_beats:
                self.coordinator.remove(process.name)
                self._count("rebalance timeout")
            if fate < 0.26 and not (self.only_loses_answers and process.has_lost_answer):
                process.has_lost_answer = True
                state.note_unanswered()
            else:
                process.has_lost_answer = False
                self._count(f"code {answer.code}")
                state.accept(answer, self.now_s)

    def _check_owners(self) -> None:
        owners: dict[object, str] = {}
        for name, process in self.processes.items():
            known = self.coordinator.members.get(name)
            if known is None:
                continue
            for partition in process.state.owned:
                assert partition not in owners, f"{partition[1]} is owned by {owners[partition]} and {name}"
                owners[partition] = name
            if process.state.epoch in {known.epoch, known.previous_epoch} - {JOIN}:
                strange = process.state.owned - known.assigned - known.revoking
                assert not strange, f"{name} owns {strange}, which the coordinator has not assigned to it"

    def _count(self, event: str) -> None:
        self.counts[event] = self.counts.get(event, 0) + 1

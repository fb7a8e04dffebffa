"""The state of a member: single steps, thousands of orderings, and planted mistakes that the simulation finds."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.broker.membership.simulation import KNOWN_TOPICS, TOPIC, World
from worker.broker.membership.member_state import (
    LEAVE,
    LEAVE_TEMPORARILY,
    NO_PARTITIONS,
    Heartbeat,
    HeartbeatAnswer,
    MemberState,
    Orders,
    Pace,
    Partitions,
    Phase,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def places(*indexes: int) -> Partitions:
    """Return partitions of the topic."""
    return frozenset((TOPIC, index) for index in indexes)


def answer(state: MemberState, code: int = 0, epoch: int = 2, target: Partitions | None = None) -> Orders:
    """Send a heartbeat, take in its answer, and return the orders."""
    state.build_heartbeat(0.0)
    state.accept(HeartbeatAnswer(code, epoch, 5.0, target), 0.0)
    return state.find_orders(KNOWN_TOPICS)


def phase(state: MemberState) -> Phase:
    """Return the phase, which mypy would take for a constant."""
    return state.phase


def build_member(*indexes: int, **options: Any) -> MemberState:
    """Return a stable member that owns partitions."""
    state = MemberState(**options)
    state.note_taken(answer(state, target=places(*indexes)).take)
    answer(state)
    assert phase(state) is Phase.STABLE
    return state


def test_a_member_joins_takes_acknowledges_and_is_stable() -> None:
    state = MemberState()
    assert phase(state) is Phase.JOINING
    assert state.build_heartbeat(0.0) == Heartbeat(0, is_full=True, owned=NO_PARTITIONS)
    state.accept(HeartbeatAnswer(0, 2, 5.0, places(0, 1)), 0.0)
    assert state.find_orders(KNOWN_TOPICS) == Orders(take=places(0, 1))
    state.note_taken(places(0, 1))
    assert phase(state) is Phase.ACKNOWLEDGING
    assert state.next_heartbeat_s(0.0) == 0.0
    assert state.build_heartbeat(0.0) == Heartbeat(2, is_full=False, owned=places(0, 1))
    state.accept(HeartbeatAnswer(0, 2), 0.0)
    assert phase(state) is Phase.STABLE
    assert state.build_heartbeat(1.0) == Heartbeat(2, is_full=False, owned=None)


def test_only_the_partitions_that_move_are_revoked_and_acknowledged_after_the_drain() -> None:
    state = build_member(0, 1, 2, 3)
    assert answer(state, target=places(0, 1)) == Orders(revoke=places(2, 3))
    assert phase(state) is Phase.REVOKING
    assert state.build_heartbeat(1.0).owned is None
    state.accept(HeartbeatAnswer(0, 2), 1.0)
    state.note_released(places(2, 3))
    assert state.next_heartbeat_s(1.0) == 1.0
    assert state.build_heartbeat(1.0) == Heartbeat(2, is_full=False, owned=places(0, 1))


@pytest.mark.parametrize("owned", [(), (0,)])
@pytest.mark.parametrize("is_taken_late", [False, True])
def test_a_partition_that_is_given_and_taken_away_again_is_acknowledged(owned: tuple[int, ...], *, is_taken_late: bool) -> None:
    """The heartbeats of the coordinator overtake the member, which has not taken the partition or takes it during a heartbeat."""
    state = build_member(*owned)
    answer(state, epoch=3, target=places(*owned, 1))
    state.build_heartbeat(0.0)
    if is_taken_late:
        state.note_taken(places(1))
    state.accept(HeartbeatAnswer(0, 3, 5.0, places(*owned)), 0.0)
    state.note_released(state.find_orders(KNOWN_TOPICS).revoke)
    assert state.next_heartbeat_s(0.0) == 0.0
    assert state.build_heartbeat(0.0).owned == places(*owned)
    state.accept(HeartbeatAnswer(0, 4), 0.0)
    assert phase(state) is Phase.STABLE


def test_a_revocation_that_is_taken_back_starts_the_partition_again_after_its_drain() -> None:
    state = build_member(0, 1)
    assert answer(state, target=places(0)) == Orders(revoke=places(1))
    assert answer(state, epoch=3, target=places(0, 1)) == Orders()
    state.note_released(places(1))
    assert state.find_orders(KNOWN_TOPICS) == Orders(take=places(1))


@pytest.mark.parametrize("code", [25, 110])
def test_a_member_that_was_removed_loses_everything_and_joins_again(code: int) -> None:
    state = build_member(0, 1)
    assert answer(state, target=places(0)) == Orders(revoke=places(1))
    assert answer(state, code) == Orders(lose=places(0, 1))
    assert phase(state) is Phase.LOSING
    assert state.epoch == 0
    assert state.next_heartbeat_s(0.0) is None
    state.note_released(places(0, 1))
    assert phase(state) is Phase.JOINING
    assert state.build_heartbeat(1.0) == Heartbeat(0, is_full=True, owned=NO_PARTITIONS)


@pytest.mark.parametrize("code", [-1, 7, 14, 15, 16, None])
def test_without_an_answer_the_member_keeps_its_partitions_and_reports_everything(code: int | None) -> None:
    """The pauses grow up to a limit."""
    state = build_member(0, 1)
    pauses = []
    for _ in range(6):
        assert state.build_heartbeat(7.0).epoch == 2
        if code is None:
            state.note_unanswered()
        else:
            state.accept(HeartbeatAnswer(code), 7.0)
        pauses.append((state.next_heartbeat_s(7.0) or 0) - 7.0)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    assert state.owned == places(0, 1)
    assert state.build_heartbeat(8.0) == Heartbeat(2, is_full=True, owned=places(0, 1))


def test_an_instance_id_in_use_is_asked_for_with_growing_pauses() -> None:
    state = MemberState(is_static=True)
    assert answer(state, 111) == Orders()
    assert state.is_instance_in_use
    assert state.next_heartbeat_s(0.0) == pytest.approx(0.1)
    answer(state, 111)
    assert state.next_heartbeat_s(0.0) == pytest.approx(0.2)
    answer(state, target=places(0))
    assert not state.is_instance_in_use


@pytest.mark.parametrize("code", [24, 30, 35, 42, 69, 81, 82, 112, 128, 999])
def test_an_error_that_no_repetition_resolves_ends_the_membership(code: int) -> None:
    state = build_member(0)
    assert answer(state, code) == Orders(lose=places(0))
    assert (state.phase, state.refusal) == (Phase.REFUSED, code)
    assert state.next_heartbeat_s(0.0) is None


def test_heartbeats_come_more_often_after_a_change() -> None:
    state = build_member(0, pace=Pace(interval_s=1.0, settling_interval_s=0.25, settling_s=10.0))
    assert state.next_heartbeat_s(9.0) == 0.25
    assert state.next_heartbeat_s(11.0) == 1.0


def test_the_coordinator_may_ask_for_more_heartbeats() -> None:
    state = build_member(0, pace=Pace(interval_s=20.0, settling_s=0.0))
    assert state.next_heartbeat_s(0.0) == 5.0


def test_a_topic_without_a_known_name_is_not_taken_yet() -> None:
    state, other = MemberState(), uuid.UUID(int=2)
    assert answer(state, target=places(0) | {(other, 0)}) == Orders(take=places(0))
    assert state.find_unknown_topics(KNOWN_TOPICS) == {other}


@pytest.mark.parametrize(("is_static", "epoch"), [(False, LEAVE), (True, LEAVE_TEMPORARILY)])
def test_a_member_that_may_be_known_says_that_it_leaves(*, is_static: bool, epoch: int) -> None:
    """This includes a member whose request to join has no answer yet."""
    assert MemberState(is_static=is_static).leave() is None
    joining = MemberState(is_static=is_static)
    joining.build_heartbeat(0.0)
    assert joining.leave() == epoch
    assert joining.leave() is None
    removed = build_member(0, is_static=is_static)
    answer(removed, 25)
    assert removed.leave() is None


def run_worlds(num_seeds: int) -> Counter[str]:
    """Run two worlds with each seed, and count the events of one. Every third world has drains over the rebalance timeout.

    In the other world only answers are lost, which must not cost a member its partitions.
    """
    counts = Counter[str]()
    for seed in range(num_seeds):
        network = World(seed, max_revoking_beats=1_000, only_loses_answers=True)
        network.run(200)
        assert not {"code 25", "code 110"} & network.counts.keys()
        world = World(seed, max_revoking_beats=2 if seed % 3 == 0 else 12)
        world.run(200)
        counts.update(world.counts)
    return counts


def test_no_ordering_gives_a_partition_to_two_members_or_to_none() -> None:
    """Thousands of orderings with lost answers, removed, frozen, killed and leaving members, and long drains."""
    counts = run_worlds(100)
    wanted = {"code 25", "code 111", "code 82", "killed", "drained", "rebalance timeout", "left during a heartbeat"}
    assert wanted <= counts.keys(), counts


def _report_nothing_after_a_lost_answer(state: MemberState, now_s: float) -> Heartbeat:
    heartbeat = _BUILD(state, now_s)
    is_doubtful = heartbeat.is_full and heartbeat.epoch > 0
    return Heartbeat(heartbeat.epoch, is_full=False, owned=None) if is_doubtful else heartbeat


def _acknowledge_before_the_drain(state: MemberState, now_s: float) -> Heartbeat:
    heartbeat = _BUILD(state, now_s)
    return Heartbeat(heartbeat.epoch, is_full=True, owned=state.owned & (state._target or NO_PARTITIONS))


def _never_acknowledge(state: MemberState, now_s: float) -> Heartbeat:
    heartbeat = _BUILD(state, now_s)
    return heartbeat if heartbeat.is_full else Heartbeat(heartbeat.epoch, is_full=False, owned=None)


_BUILD = MemberState.build_heartbeat


@pytest.mark.parametrize(
    ("method", "mistake"),
    [
        ("build_heartbeat", _report_nothing_after_a_lost_answer),
        ("build_heartbeat", _acknowledge_before_the_drain),
        ("build_heartbeat", _never_acknowledge),
        ("_leave_group", lambda state: setattr(state, "epoch", 0)),
        ("note_unanswered", lambda _state: None),
        ("leave", lambda _state: None),
    ],
    ids=["report-nothing", "acknowledge-early", "never-acknowledge", "keep-what-is-lost", "ignore-lost-answers", "leave-silently"],
)
def test_the_simulation_finds_a_planted_mistake(monkeypatch: pytest.MonkeyPatch, method: str, mistake: Callable[..., Any]) -> None:
    monkeypatch.setattr(MemberState, method, mistake)
    with pytest.raises(AssertionError):
        run_worlds(100)

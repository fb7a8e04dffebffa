"""The token budget of a batch: fixed, or adapted to the duration of the last full passes within its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.flow.batch_budget import MAX_TOKENS, MIN_TOKENS, BatchBudget


def budget(*, fixed_tokens: int = 0, max_pass_s: float = 0.05, max_in_flight_tokens: int = 65_536) -> BatchBudget:
    """Return a budget with the defaults of the settings."""
    return BatchBudget(fixed_tokens=fixed_tokens, max_pass_s=max_pass_s, max_in_flight_tokens=max_in_flight_tokens)


def run_passes(own: BatchBudget, tokens_per_s: float, *, num_passes: int = 60) -> None:
    """Run full passes at a constant speed."""
    for _ in range(num_passes):
        own.note_pass(own.max_tokens, own.max_tokens / tokens_per_s)


@given(st.floats(1, 1e9))
def test_a_full_pass_takes_the_given_time_within_the_bounds(tokens_per_s: float) -> None:
    """The budget is at most the tokens of that time, and more than half of it, whatever the speed."""
    own = budget()
    run_passes(own, tokens_per_s)
    wanted = tokens_per_s * 0.05
    assert own.max_tokens <= max(wanted * 1.001, MIN_TOKENS)
    assert own.max_tokens >= min(wanted * 0.6, MAX_TOKENS)
    assert MIN_TOKENS <= own.max_tokens <= MAX_TOKENS


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 100)), max_size=50), st.integers(16, 200_000))
def test_no_pass_moves_the_budget_out_of_its_bounds(passes: list[tuple[int, float]], max_in_flight_tokens: int) -> None:
    """A quarter of the tokens in flight is the upper bound, also below the usual minimum."""
    own = budget(max_in_flight_tokens=max_in_flight_tokens)
    for num_tokens, seconds in passes:
        own.note_pass(num_tokens, seconds)
        assert 1 <= own.max_tokens <= min(MAX_TOKENS, max_in_flight_tokens // 4)


def test_an_explicit_number_of_tokens_never_changes() -> None:
    """Passes of any duration leave the number as it is."""
    own = budget(fixed_tokens=4_096)
    run_passes(own, 1_000)
    assert own.max_tokens == 4_096


def test_small_passes_do_not_change_the_budget() -> None:
    """A lone message costs more time for each token than a full batch."""
    own = budget()
    run_passes(own, 40_000)
    before = own.max_tokens
    for _ in range(100):
        own.note_pass(12, 0.004)
    assert own.max_tokens == before == 1_536


def test_a_text_above_the_budget_teaches_the_speed() -> None:
    """Its pass has more tokens than the budget, and counts like a full one."""
    own = budget()
    own.note_pass(8_192, 8_192 / 20_000)
    assert own.max_tokens == 768


def test_one_slow_pass_changes_the_budget_only_a_little() -> None:
    """A pause of the machine during one pass costs at most a step of the budget."""
    own = budget()
    run_passes(own, 42_000)
    own.note_pass(own.max_tokens, 30.0)
    assert own.max_tokens == 1_536


@pytest.mark.parametrize(("shorter_s", "longer_s"), [(0.02, 0.05), (0.05, 0.2)])
def test_a_longer_pass_has_more_tokens(shorter_s: float, longer_s: float) -> None:
    """The budget follows the setting at the same speed."""
    shorter, longer = budget(max_pass_s=shorter_s), budget(max_pass_s=longer_s)
    run_passes(shorter, 30_000)
    run_passes(longer, 30_000)
    assert shorter.max_tokens < longer.max_tokens

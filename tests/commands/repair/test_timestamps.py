"""Moments and durations in arguments and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.commands.repair.timestamps import duration_ms, moment_ms, shown_moment
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-14T22:13:20Z", NOW_MS),
        ("2023-11-14 22:13:20", NOW_MS),
        ("2023-11-14T23:13:20+01:00", NOW_MS),
        ("2h", NOW_MS - 7_200_000),
        ("1.5d", NOW_MS - 129_600_000),
    ],
)
def test_a_moment_is_iso_8601_or_how_long_ago_it_was(text: str, expected: int) -> None:
    """A moment without a time zone is in UTC."""
    assert moment_ms(text, now_ms=NOW_MS) == expected


@pytest.mark.parametrize("text", ["", "soon", "2h30m", "-1h"])
def test_a_text_that_is_no_time_and_no_duration_is_refused(text: str) -> None:
    """The error is one line that shows the accepted formats."""
    with pytest.raises(BadSettings, match=r"write 2026-01-31T12:00:00Z"):
        moment_ms(text, now_ms=NOW_MS)
    with pytest.raises(BadSettings, match="write 90s"):
        duration_ms(text)


@pytest.mark.parametrize("read", [duration_ms, lambda text: moment_ms(text, now_ms=NOW_MS)])
def test_a_duration_without_bounds_is_a_users_mistake(read: Callable[[str], int]) -> None:
    """A number beyond the range of a float is refused in one line."""
    with pytest.raises(BadSettings, match="write 90s"):
        read("9" * 400 + "d")


def test_a_moment_is_shown_to_the_second() -> None:
    """A missing timestamp is shown as a dash."""
    assert [shown_moment(moment) for moment in (NOW_MS, -1)] == ["2023-11-14 22:13:20", "-"]


@given(timestamp_ms=st.integers(-(2**63), 2**63 - 1))
@example(timestamp_ms=1_700_000_000_000_000)
@example(timestamp_ms=2**63 - 1)
@example(timestamp_ms=253_402_300_800_000)
def test_any_timestamp_of_a_record_can_be_shown(timestamp_ms: int) -> None:
    """A timestamp beyond the calendar, such as one in microseconds, is shown as its number."""
    shown = shown_moment(timestamp_ms)
    if timestamp_ms < 0:
        assert shown == "-"
    elif timestamp_ms >= 253_402_300_800_000:
        assert shown == f"{timestamp_ms} ms after 1970-01-01 00:00:00"
    else:
        assert moment_ms(shown, now_ms=0) == timestamp_ms // 1000 * 1000

"""Moments and durations as people write them."""

from __future__ import annotations

import pytest

from worker.commands.moments import duration_ms, moment_ms, shown_moment
from worker.errors import BadSettings

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
    """In UTC where it names no zone."""
    assert moment_ms(text, now_ms=NOW_MS) == expected


@pytest.mark.parametrize("text", ["", "soon", "2h30m", "-1h"])
def test_what_is_neither_is_a_users_mistake(text: str) -> None:
    """In one line that says how to write it."""
    with pytest.raises(BadSettings, match=r"write 2026-01-31T12:00:00Z"):
        moment_ms(text, now_ms=NOW_MS)
    with pytest.raises(BadSettings, match="write 90s"):
        duration_ms(text)


def test_a_moment_is_shown_to_the_second() -> None:
    """Or as a dash."""
    assert [shown_moment(it) for it in (NOW_MS, -1)] == ["2023-11-14 22:13:20", "-"]

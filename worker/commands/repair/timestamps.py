"""Times and durations as people write them. Pure: the present time is an argument."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from worker.errors import BadSettings

_MS_OF_UNIT = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def duration_ms(text: str) -> int:
    """Return a duration such as `90s`, `30m`, `2h` or `7d`, in milliseconds. Raises `BadSettings`."""
    found = _DURATION.fullmatch(text.strip())
    if found and math.isfinite(milliseconds := float(found[1]) * _MS_OF_UNIT[found[2]]):
        return round(milliseconds)
    raise BadSettings(f"{text} is not a duration: write 90s, 30m, 2h or 7d")


def moment_ms(text: str, *, now_ms: int) -> int:
    """Return a time in milliseconds since the epoch: ISO 8601 (UTC if it names no zone), or a duration before now.

    Raises `BadSettings`.
    """
    if _DURATION.fullmatch(text.strip()):
        return now_ms - duration_ms(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadSettings(f"{text} is not a time: write 2026-01-31T12:00:00Z, or a duration before now: 2h") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def shown_moment(timestamp_ms: int) -> str:
    """Return a time for people, in UTC, to the second; `-` for a record without a timestamp.

    A producer may write any number: a timestamp outside the calendar, such as one in microseconds, is returned as a number.
    """
    if timestamp_ms < 0:
        return "-"
    try:
        return f"{datetime.fromtimestamp(timestamp_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_ms} ms after 1970-01-01 00:00:00"

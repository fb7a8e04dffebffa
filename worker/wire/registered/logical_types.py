"""The JSON forms of Avro's dates, times and decimals. Pure.

| logical type | form |
| --- | --- |
| `date` | `2026-11-30` |
| `time-millis`, `time-micros` | `14:05:06.123000` |
| `timestamp-millis`, `timestamp-micros` | `2026-11-30T14:05:06.123000+00:00` |
| `local-timestamp-millis`, `local-timestamp-micros` | the same without the offset |
| `decimal` | the digits as a string, `12.50` |

A number that is no date of the years 1 to 9999 stays a number. A decimal of more than 64 bytes stays bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The beginning of the names of these forms among the logical types of fastavro.
MARK = "gist-"
_EPOCH, _LOCAL_EPOCH = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)  # noqa: DTZ001  a local time has no zone
_DAY_US, _MAX_DECIMAL_BYTES, _MAX_SCALE = 86_400_000_000, 64, 256
# The length of `2026-11-30`, and of `14:05:06.123000`.
_NUM_DATE_CHARS, _NUM_TIME_CHARS = 10, 15
# The microseconds of a unit, for each pair of type and logical type.
_UNITS_US = {
    ("int", "date"): _DAY_US,
    ("int", "time-millis"): 1_000,
    ("long", "time-micros"): 1,
    ("long", "timestamp-millis"): 1_000,
    ("long", "timestamp-micros"): 1,
    ("long", "local-timestamp-millis"): 1_000,
    ("long", "local-timestamp-micros"): 1,
}
_DECIMAL_TYPES = frozenset({"bytes", "fixed"})


def find_json_form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that select the JSON form of a type; none for a type without one."""
    kind, logical = schema.get("type"), schema.get("logicalType")
    if (kind, logical) in _UNITS_US:
        return {"logicalType": f"{MARK}{logical}"}
    scale = schema.get("scale", 0)
    if logical == "decimal" and kind in _DECIMAL_TYPES and isinstance(scale, int) and 0 <= scale <= _MAX_SCALE:
        return {"logicalType": f"{MARK}decimal", "scale": scale}
    return {}


def register_json_forms() -> None:
    """Let fastavro read the types of `find_json_form` in their JSON forms. Names of other users are not changed."""
    from fastavro.read import LOGICAL_READERS  # noqa: PLC0415  an optional dependency

    for (kind, logical), unit_us in _UNITS_US.items():
        LOGICAL_READERS[f"{kind}-{MARK}{logical}"] = _build_time_form(logical, unit_us)
    for kind in _DECIMAL_TYPES:
        LOGICAL_READERS[f"{kind}-{MARK}decimal"] = _format_decimal


def _build_time_form(logical: str, unit_us: int) -> Any:
    """Return the function that formats a number of units."""
    epoch = _LOCAL_EPOCH if logical.startswith("local") else _EPOCH

    def format_timestamp(number: int, _writer: object = None, _reader: object = None) -> str | int:
        try:
            return (epoch + timedelta(0, 0, number * unit_us)).isoformat("T", "microseconds")
        except OverflowError:
            return number

    def format_date(number: int, _writer: object = None, _reader: object = None) -> str | int:
        moment = format_timestamp(number)
        return moment if isinstance(moment, int) else moment[:_NUM_DATE_CHARS]

    def format_time(number: int, _writer: object = None, _reader: object = None) -> str | int:
        moment = format_timestamp(number) if 0 <= number * unit_us < _DAY_US else number
        return moment if isinstance(moment, int) else moment[_NUM_DATE_CHARS + 1 : _NUM_DATE_CHARS + 1 + _NUM_TIME_CHARS]

    if logical == "date":
        return format_date
    return format_time if logical.startswith("time-") else format_timestamp


def _format_decimal(content: bytes, writer: Any, _reader: object = None) -> str | bytes:
    if len(content) > _MAX_DECIMAL_BYTES:
        return content
    number, scale = int.from_bytes(content, signed=True), writer["scale"]
    digits = str(abs(number)).rjust(scale + 1, "0")
    whole, fraction = digits[: len(digits) - scale], digits[len(digits) - scale :]
    return f"{'-' * (number < 0)}{whole}{'.' * bool(fraction)}{fraction}"

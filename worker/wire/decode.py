"""Decodes input records. Pure.

The result is an `Item`, a `Tombstone` or `InvalidRecord` with a reason for the producer. The parser accepts strict JSON
only: no NaN, no infinities, no lone surrogates, no nesting beyond 1,024, no numbers that overflow. The last of several
equal keys counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from worker.errors import InvalidRecord
from worker.records import Item, Task, Tombstone
from worker.wire.content import name_json_type, read_content, read_text, shorten
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.records import Headers, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest valid record."""

    max_message_bytes: int = 1_048_576
    max_headers: int = 32
    #: Names and values together.
    max_headers_bytes: int = 16_384
    max_id_chars: int = 256
    max_text_chars: int = 1_000_000
    #: The longest part of a payload in a dead letter.
    max_dead_letter_payload_bytes: int = 262_144


# The headers that a replay adds: the number of the attempt, and the task to repeat if a single task had failed.
ATTEMPT_HEADER, REPLAY_TASK_HEADER = "gist-attempt", "gist-replay-task"
REPLAY_HEADERS = frozenset({ATTEMPT_HEADER, REPLAY_TASK_HEADER})
_MAX_DIGITS = 9
# Longer than the name of any task and any number of attempts.
_MAX_REPLAY_VALUE_BYTES = 16
_NO_HEADERS: Mapping[str, bytes] = MappingProxyType({})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Any character except white space, controls, default-ignorable characters of Unicode (joiners, byte order marks,
# variation selectors,
# soft hyphens, fillers, tags), the marks of interlinear annotation and the blank of Braille.
VISIBLE = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class TextMissing(InvalidRecord):
    """The record has no field `text`."""


def decode(record: Record, *, limits: Limits, tasks: frozenset[Task]) -> Item | Tombstone:
    """Decode a record of the wire contract. `tasks` are those of the worker, and the default of a record that selects none.

    Raises `InvalidRecord` and no other exception: `TextMissing` for a JSON object without a text.
    """
    headers = check_headers(record, limits)
    if record.value is None:
        return build_tombstone(record)
    if len(record.value) > limits.max_message_bytes:
        raise InvalidRecord(f"the value has {len(record.value)} bytes; at most {limits.max_message_bytes} are read")
    content, event_id = read_content(record.value, headers)
    if isinstance(content, str):
        return Item(record, check_id(event_id, record, limits), check_text(content, limits), select_tasks(None, headers, tasks))
    text, identity = content.get("text"), content.get("id")
    if text is None:
        raise TextMissing("there is no `text`")
    return Item(
        record,
        check_id(event_id if identity is None else identity, record, limits),
        check_text(text, limits),
        select_tasks(content.get("tasks"), headers, tasks),
    )


def build_tombstone(record: Record) -> Tombstone:
    """Return the tombstone of a record. Raises `InvalidRecord` for a record without a key."""
    if record.key is None:
        raise InvalidRecord("a tombstone needs a key: without one it deletes nothing")
    return Tombstone(record)


def read_attempts(headers: Headers) -> int:
    """Return the number of the attempt: 1, or the value in the header of a replay."""
    written = read_headers(headers).get(ATTEMPT_HEADER, b"")
    return max(1, int(written)) if written.isdigit() and len(written) <= _MAX_DIGITS else 1


def read_id(record: Record) -> str:
    """Return the id of a record, which may be invalid or cut; the default id if the record's own id is not readable."""
    headers = read_headers(record.headers)
    try:
        content, identity = read_content(record.value or b"", headers)
        if not isinstance(content, str) and content.get("id") is not None:
            identity = content["id"]
    except InvalidRecord:
        identity = headers["ce_id"].decode(errors="replace") if {"ce_specversion", "ce_id"} <= headers.keys() else None
    if isinstance(identity, int) and not isinstance(identity, bool):
        return str(identity)
    return identity if isinstance(identity, str) else f"{record.partition}-{record.offset}"


def count_replay_bytes(headers: Headers) -> int:
    """Return the bytes of the headers that a replay has added. They do not count towards the limits of the record."""
    added = read_headers(headers)
    return sum(
        len(name) + len(added[name]) for name in REPLAY_HEADERS & added.keys() if len(added[name]) <= _MAX_REPLAY_VALUE_BYTES
    )


def _restrict_to_replay(asked: frozenset[Task], headers: Mapping[str, bytes]) -> frozenset[Task]:
    """Return the tasks to repeat. The other tasks of a replayed record succeeded before."""
    if REPLAY_TASK_HEADER not in headers:
        return asked
    due = set(_read_names(headers, REPLAY_TASK_HEADER))
    if not asked & due:
        names = shorten(",".join(sorted(due)))
        raise InvalidRecord(f"the record requests none of the tasks to repeat, or they are not served here: {names}")
    return asked & due


def check_headers(record: Record, limits: Limits) -> Mapping[str, bytes]:
    """Return the values of the headers by name. Raises `InvalidRecord` if the headers are too many or too large."""
    if not record.headers:
        return _NO_HEADERS
    # The headers that a replay adds do not count towards the limit.
    num_added = len(REPLAY_HEADERS & {name for name, _ in record.headers})
    if len(record.headers) - num_added > limits.max_headers:
        raise InvalidRecord(f"the record has {len(record.headers)} headers; at most {limits.max_headers} are taken")
    num_bytes = sum(len(name.encode()) + len(value or b"") for name, value in record.headers)
    if num_added:
        num_bytes -= count_replay_bytes(record.headers)
    if num_bytes > limits.max_headers_bytes:
        raise InvalidRecord(f"the headers have {num_bytes} bytes; at most {limits.max_headers_bytes} are taken")
    return read_headers(record.headers)


def _read_names(headers: Mapping[str, bytes], name: str) -> list[str]:
    """Return the names in a header. Empty names, as after a trailing comma, are ignored."""
    return [stripped for part in read_text(headers, name).split(",") if (stripped := part.strip())]


def check_text(text: object, limits: Limits, *, name: str = "text") -> str:
    """Return the text of the field `name`. Raises `InvalidRecord` if the value is no text, too long or blank."""
    if not isinstance(text, str):
        raise InvalidRecord(f"`{name}` must be a string, not {name_json_type(text)}")
    if len(text) > limits.max_text_chars:
        raise InvalidRecord(f"the text has {len(text)} characters; at most {limits.max_text_chars} are read")
    if not VISIBLE.search(text):
        raise InvalidRecord("the text is blank")
    return text


def check_id(identity: object, record: Record, limits: Limits, *, name: str = "id") -> str:
    """Return the id in the field `name`, the digits of a number, or the default for None. Raises `InvalidRecord`."""
    if identity is None:
        return f"{record.partition}-{record.offset}"
    if isinstance(identity, int) and not isinstance(identity, bool):
        identity = str(identity)
    if not isinstance(identity, str):
        kind = "a number with a fraction, or beyond 64 bits" if isinstance(identity, float) else name_json_type(identity)
        raise InvalidRecord(f"`{name}` must be a string or an integer, not {kind}")
    if not 0 < len(identity) <= limits.max_id_chars:
        raise InvalidRecord(f"`{name}` has {len(identity)} characters; it needs 1 to {limits.max_id_chars}")
    if found := _CONTROL.search(identity):
        raise InvalidRecord(f"`{name}` holds the control character U+{ord(found[0]):04X}")
    return identity


def select_tasks(
    selected: object, headers: Mapping[str, bytes], served: frozenset[Task], *, name: str = "tasks"
) -> frozenset[Task]:
    """Return the tasks of a record: of the field `name`, else of the header, else all. Raises `InvalidRecord`."""
    if selected is None and "tasks" in headers:
        selected = _read_names(headers, "tasks")
    return _restrict_to_replay(_check_tasks(selected, served, name), headers)


def _check_tasks(selected: object, served: frozenset[Task], name: str) -> frozenset[Task]:
    if selected is None:
        return served
    if not isinstance(selected, list):
        raise InvalidRecord(f"`{name}` must be a list of names, not {name_json_type(selected)}")
    if not selected:
        raise InvalidRecord(f"none of the tasks is asked for: `{name}` is empty")
    if strange := [task for task in selected if not isinstance(task, str)]:
        raise InvalidRecord(f"`{name}` must be a list of names; {name_json_type(strange[0])} is none")
    names = ", ".join(sorted(served))
    unknown = sorted(set(selected) - set(Task))
    if unknown:
        raise InvalidRecord(f"there is no task {shorten(unknown[0])}; this worker serves {names}")
    asked = frozenset(map(Task, selected))
    # Other workers may serve the other tasks. This is an error only if no task remains for this worker.
    if not asked & served:
        raise InvalidRecord(f"none of the tasks asked for is served here; this worker serves {names}")
    return asked & served

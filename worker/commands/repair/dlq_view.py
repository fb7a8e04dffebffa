"""Print dead letters in a terminal, and format them as JSON."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from rich.table import Table
from rich.text import Text

from worker.commands.output_encoding import escape_controls
from worker.commands.repair.timestamps import shown_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from worker.wire.dead_letters import DeadLetterRecord

# A narrower terminal gets shorter cells, and no columns whose own minimum width is larger.
_WIDE_CHARS = 140
_MIN_CHARS = {"attempts": 140, "replay": 140, "when (UTC)": 90, "source": 76, "error": 56, "stage": 40}
# Columns that may wrap to the next line; the other columns are never cut or wrapped.
_FOLDED = frozenset({"when (UTC)", "source", "error", "reason"})


def plain(letter: DeadLetterRecord) -> dict[str, Any]:
    """Return the fields of a dead letter for JSON."""
    content = letter.content
    return {
        "letter": letter.name,
        "timestamp_ms": letter.timestamp_ms,
        "source": letter.source,
        "id": letter.id,
        "stage": content.stage,
        "error": content.error,
        "message": content.message,
        "task": content.task,
        "attempts": content.attempts,
        "obstacle": letter.replay_obstacle,
    }


def preview(letter: DeadLetterRecord, *, max_chars: int = 2_000) -> dict[str, Any]:
    """Return the decoded parts of the failed record for JSON, each with at most `max_chars` characters."""
    content = letter.content
    return {
        "key": _decode(content.key)[:max_chars],
        "payload": None if letter.payload is None else _format_payload(letter.payload)[:max_chars],
        "payload_bytes": content.payload_bytes,
        "headers": [(header.name, _decode(header.value)[:max_chars]) for header in content.headers],
        "model": content.model,
    }


def table(console: Console, letters: Sequence[DeadLetterRecord], *, limit: int) -> None:
    """Print the number of dead letters by stage and error, and a row for each of the first `limit`; 0 means all.

    A narrow terminal gets fewer columns. The name and the reason of a dead letter are complete at any width: `show`, `replay` and
    `drop` need the name, and the reason explains the failure.
    """
    shown = letters[: limit or None]
    has_one_topic = len({letter.content.source.topic for letter in shown}) == 1
    names = ("letter", "when (UTC)", "source", "stage", "error", "attempts", "replay", "reason")
    is_wide = console.width >= _WIDE_CHARS
    rows = _build_table([name for name in names if console.width >= _MIN_CHARS.get(name, 0)])
    for letter in shown:
        when = shown_moment(letter.timestamp_ms)
        source = letter.source.removeprefix(f"{letter.content.source.topic}-") if has_one_topic and not is_wide else letter.source
        cells = {
            "letter": letter.name,
            "when (UTC)": when if is_wide else when.rpartition(":")[0] or when,
            "source": source,
            "stage": letter.content.stage,
            "error": letter.content.error,
            "attempts": str(letter.content.attempts),
            "replay": "no" if letter.replay_obstacle else "yes",
            "reason": " ".join(letter.content.message.split()),
        }
        rows.add_row(*(Text(escape_controls(cells[str(column.header)])) for column in rows.columns))
    if letters:
        console.print(_build_count_table(letters), "", rows, sep="\n")
    if 0 < limit < len(letters):
        console.print(f"… and {len(letters) - limit} more: --limit 0 shows all")


def _build_count_table(letters: Sequence[DeadLetterRecord]) -> Table:
    """Return the table of the numbers of dead letters by stage and error."""
    counts = _build_table(("stage", "error", "letters"))
    for (stage, error), count in Counter((letter.content.stage, letter.content.error) for letter in letters).most_common():
        counts.add_row(stage, Text(escape_controls(error)), str(count))
    return counts


def whole(console: Console, letter: DeadLetterRecord) -> None:
    """Print all fields of a dead letter, with decoded key, headers and payload."""
    content = letter.content
    lines: list[tuple[str, str]] = [
        ("letter", f"{letter.name} in {letter.partition.topic}, written {shown_moment(letter.timestamp_ms)} UTC"),
        ("source", f"{letter.source}, {_format_timestamp(letter)}"),
        ("id", letter.id),
        ("failed to", f"{content.stage}{f', task {content.task}' if content.task else ''}, at attempt {content.attempts}"),
        ("error", f"{content.error}: {content.message}"),
        ("model", content.model),
        ("replay", f"no: {letter.replay_obstacle}" if letter.replay_obstacle else "yes"),
    ]
    # Only a key and a header may have several lines: JSON is indented.
    lines = [(name, escape_controls(value)) for name, value in lines]
    lines += [("key", _decode(content.key)), *((f"header {header.name}", _decode(header.value)) for header in content.headers)]
    for name, value in lines:
        console.print(Text(f"{escape_controls(name):10} ", style="bold").append(Text(value, style="not bold")))
    payload = letter.payload or b""
    size = "none" if letter.payload is None else f"{content.payload_bytes} bytes"
    cut = f", of which the first {len(payload)} are here" if len(payload) < content.payload_bytes else ""
    console.print(Text("payload    ", style="bold").append(f"{size}{cut}", style="not bold"))
    if payload:
        console.print(Text(_format_payload(payload)))


def _format_timestamp(letter: DeadLetterRecord) -> str:
    timestamp = letter.content.source.timestamp
    return "not stamped" if timestamp is None or timestamp < 0 else f"stamped {shown_moment(timestamp)} UTC"


def _decode(encoded: str | None) -> str:
    """Return the content of base64 text as `_format_payload` formats bytes; `none` for a null."""
    return "none" if encoded is None else _format_payload(base64.b64decode(encoded))


def _format_payload(content: bytes) -> str:
    """Return JSON indented, text as it is, and other bytes as a Python literal."""
    try:
        return orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        pass
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return repr(content)
    return text if all(character.isprintable() or character.isspace() for character in text) else repr(content)


def _build_table(names: Sequence[str]) -> Table:
    built = Table(box=None, pad_edge=False)
    for name in names:
        is_whole = name not in _FOLDED
        built.add_column(name, justify="right" if name in {"letters", "attempts"} else "left", no_wrap=is_whole, overflow="fold")
    return built

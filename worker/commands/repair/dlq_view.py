"""Dead letters for people, and as JSON lines."""

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

# Below this width some columns say less, and below widths of their own they are left out.
_WIDE_CHARS = 140
_LEAST_CHARS = {"attempts": 140, "replay": 140, "when (UTC)": 90, "source": 76, "error": 56, "stage": 40}
# Columns that may go on in the next line of a row; the others are never cut.
_FOLDED = frozenset({"when (UTC)", "source", "error", "reason"})


def plain(letter: DeadLetterRecord) -> dict[str, Any]:
    """Return what a row says, as JSON has it."""
    says = letter.content
    return {
        "letter": letter.name,
        "timestamp_ms": letter.timestamp_ms,
        "source": letter.source,
        "id": letter.id,
        "stage": says.stage,
        "error": says.error,
        "message": says.message,
        "task": says.task,
        "attempts": says.attempts,
        "obstacle": letter.replay_obstacle,
    }


def table(console: Console, letters: Sequence[DeadLetterRecord], *, limit: int) -> None:
    """Print how many failed where and how, and a row for each of the first `limit`; 0 is all.

    A narrow terminal gets fewer columns. The number of a letter and its reason are whole at any width: `show`, `replay` and `drop`
    take the one, and the other is what the list is read for.
    """
    shown = letters[: limit or None]
    has_one_topic = len({letter.content.source.topic for letter in shown}) == 1
    names = ("letter", "when (UTC)", "source", "stage", "error", "attempts", "replay", "reason")
    is_wide = console.width >= _WIDE_CHARS
    rows = _table([name for name in names if console.width >= _LEAST_CHARS.get(name, 0)])
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
        console.print(_counts(letters), "", rows, sep="\n")
    if 0 < limit < len(letters):
        console.print(f"… and {len(letters) - limit} more: --limit 0 shows all")


def _counts(letters: Sequence[DeadLetterRecord]) -> Table:
    """Return how many letters there are of each stage and error."""
    counts = _table(("stage", "error", "letters"))
    for (stage, error), num in Counter((letter.content.stage, letter.content.error) for letter in letters).most_common():
        counts.add_row(stage, Text(escape_controls(error)), str(num))
    return counts


def whole(console: Console, letter: DeadLetterRecord) -> None:
    """Print all that a letter says, its key, headers and payload decoded."""
    says = letter.content
    lines: list[tuple[str, str]] = [
        ("letter", f"{letter.name} in {letter.partition.topic}, written {shown_moment(letter.timestamp_ms)} UTC"),
        ("source", f"{letter.source}, {_stamped(letter)}"),
        ("id", letter.id),
        ("failed to", f"{says.stage}{f', task {says.task}' if says.task else ''}, at attempt {says.attempts}"),
        ("error", f"{says.error}: {says.message}"),
        ("model", says.model),
        ("replay", f"no: {letter.replay_obstacle}" if letter.replay_obstacle else "yes"),
        ("key", _decoded(says.key)),
        *((f"header {it.name}", _decoded(it.value)) for it in says.headers),
    ]
    for name, value in lines:
        console.print(Text(f"{name:10} ", style="bold").append(Text(value, style="not bold")))
    kept = letter.payload or b""
    size = "none" if letter.payload is None else f"{says.payload_bytes} bytes"
    cut = f", of which the first {len(kept)} are here" if len(kept) < says.payload_bytes else ""
    console.print(Text("payload    ", style="bold").append(f"{size}{cut}", style="not bold"))
    if kept:
        console.print(Text(_readable(kept)))


def _stamped(letter: DeadLetterRecord) -> str:
    timestamp = letter.content.source.timestamp
    return "not stamped" if timestamp is None or timestamp < 0 else f"stamped {shown_moment(timestamp)} UTC"


def _decoded(encoded: str | None) -> str:
    """Return what base64 stands for, as `_readable` does; `none` for a null."""
    return "none" if encoded is None else _readable(base64.b64decode(encoded))


def _readable(content: bytes) -> str:
    """Return JSON indented, text as it is, and other bytes as Python writes them."""
    try:
        return orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        pass
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return repr(content)
    return text if all(it.isprintable() or it.isspace() for it in text) else repr(content)


def _table(names: Sequence[str]) -> Table:
    shown = Table(box=None, pad_edge=False)
    for name in names:
        is_whole = name not in _FOLDED
        shown.add_column(name, justify="right" if name in {"letters", "attempts"} else "left", no_wrap=is_whole, overflow="fold")
    return shown

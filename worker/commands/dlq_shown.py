"""Dead letters for people, and as JSON lines."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
from rich.table import Table
from rich.text import Text

from worker.commands.moments import shown_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from worker.dead_letters import Letter

_MAX_REASON_CHARS = 60


def plain(letter: Letter) -> dict[str, Any]:
    """Return what a row says, as JSON has it."""
    says = letter.says
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
        "obstacle": letter.obstacle,
    }


def table(console: Console, letters: Sequence[Letter], *, limit: int) -> None:
    """Print how many failed where and how, and a row for each of the first `limit`; 0 is all."""
    counts = _table(("stage", "error", "letters"))
    for (stage, error), num in Counter((it.says.stage, it.says.error) for it in letters).most_common():
        counts.add_row(stage, Text(error), str(num))
    rows = _table(("letter", "when (UTC)", "source", "stage", "error", "attempts", "replay", "reason"))
    for it in letters[: limit or None]:
        says, can = it.says, "no" if it.obstacle else "yes"
        reason = Text(" ".join(says.message.split())[:_MAX_REASON_CHARS])
        rows.add_row(
            it.name, shown_moment(it.timestamp_ms), Text(it.source), says.stage, Text(says.error), str(says.attempts), can, reason
        )
    if letters:
        console.print(counts, "", rows, sep="\n")
    if 0 < limit < len(letters):
        console.print(f"… and {len(letters) - limit} more: --limit 0 shows all")


def whole(console: Console, letter: Letter) -> None:
    """Print all that a letter says, its key, headers and payload decoded."""
    says = letter.says
    lines: list[tuple[str, str]] = [
        ("letter", f"{letter.name} in {letter.partition.topic}, written {shown_moment(letter.timestamp_ms)} UTC"),
        ("source", f"{letter.source}, {_stamped(letter)}"),
        ("id", letter.id),
        ("failed to", f"{says.stage}{f', task {says.task}' if says.task else ''}, at attempt {says.attempts}"),
        ("error", f"{says.error}: {says.message}"),
        ("model", says.model),
        ("replay", f"no: {letter.obstacle}" if letter.obstacle else "yes"),
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


def _stamped(letter: Letter) -> str:
    timestamp = letter.says.source.timestamp
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
        shown.add_column(name, justify="right" if name in {"letters", "attempts"} else "left", no_wrap=True)
    return shown

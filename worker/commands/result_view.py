"""Results for people: texts with entities in colour, labels and dead letters."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from rich.text import Text

from worker.commands.output_encoding import escape_controls

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COLOURS = {"PER": "black on bright_cyan", "ORG": "black on bright_yellow", "LOC": "black on bright_green"}
_LABEL_COLOURS = {"positive": "green", "negative": "red"}


def highlighted(text: str, entities: Sequence[Mapping[str, Any]]) -> Text:
    """Return a text with its entities in colour, each followed by its type."""
    shown = Text()
    end = 0
    for entity in entities:
        shown.append(escape_controls(text[end : entity["start"]]))
        named = escape_controls(f"{entity['text']}\u00a0{entity['type']}")
        shown.append(named, style=_COLOURS.get(entity["type"], "black on white"))
        end = entity["end"]
    shown.append(escape_controls(text[end:]))
    return shown


def labelled(labels: Mapping[str, Mapping[str, Any]], values: Mapping[str, Mapping[str, float]] | None = None) -> Text:
    """Return labels with their scores, and the numbers of heads for regression."""
    parts = [
        Text(f"{escape_controls(label['label'])} {label['score']:.2f}", style=_LABEL_COLOURS.get(label["label"], "cyan"))
        for label in labels.values()
    ] + [
        Text(f"{escape_controls(label)} {number:.2f}", style="cyan")
        for own in (values or {}).values()
        for label, number in own.items()
    ]
    return Text("  ").join(parts)


def dead_letter(letter: Mapping[str, Any]) -> Text:
    """Return the stage and the reason of a failure, with the beginning of the payload."""
    payload = base64.b64decode(letter["payload"])[:40] if letter["payload"] else b""
    shown = Text(escape_controls(f"{letter['stage']}: {letter['message']}"), style="red")
    return shown.append(f"  {payload!r}", style="dim")

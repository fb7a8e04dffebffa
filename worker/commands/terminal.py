"""The terminal: foreign text is shown character by character, and controls nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType

# Controls, lone surrogates, line separators, and the characters that reverse the direction of what follows them.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROLS_BUT_SPACES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Terminal(Console):
    """A console that reads no markup in what it prints, and shows control characters as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as usual; only the controls that the console makes itself stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escape_controls(segment.text, keeps_lines=True), segment.style)


def escape_controls(text: str, *, keeps_lines: bool = False) -> str:
    """Return a text on one line whose control characters are written as escapes; `keeps_lines` leaves line ends and tabs."""
    return (_CONTROLS_BUT_SPACES if keeps_lines else _CONTROLS).sub(_escape, text)


def json_line(value: Any) -> str:
    """Return a value as JSON of one line; JSON leaves some control characters as they are, and these are escaped too."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(value).decode())


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()

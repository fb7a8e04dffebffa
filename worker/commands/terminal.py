"""The terminal: foreign text is shown character by character, and controls nothing."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import ConsoleOptions, RenderableType

# Controls, lone surrogates, line separators, and the characters that reverse the direction of what follows them.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROLS_BUT_SPACES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# The same warning is printed at most so often, in seconds.
_WARNING_INTERVAL_S = 30.0


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


class _Warnings(logging.Handler):
    """Prints what Kafka's client warns of, each kind of warning at most once in a while: the client repeats itself."""

    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        # When each kind was last printed, in seconds of a monotonic clock.
        self._printed_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning, unless one of its kind was printed just now."""
        kind, now_s = str(record.msg), time.monotonic()
        if now_s - self._printed_s.get(kind, -_WARNING_INTERVAL_S) >= _WARNING_INTERVAL_S:
            self._printed_s[kind] = now_s
            self._console.print(escape_controls(record.getMessage()), style="dim", soft_wrap=True)


@contextlib.contextmanager
def client_warnings(console: Terminal) -> Iterator[None]:
    """Print what Kafka's client warns of while the block lasts: a command that waits shows what it waits for."""
    logger, handler = logging.getLogger("aiokafka"), _Warnings(console)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()

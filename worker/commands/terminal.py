"""Output to a terminal, which text from records cannot control."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

from worker.commands.output_encoding import CONTROLS, escape_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import ConsoleOptions, RenderableType

# Wider than any table.
_UNBOUNDED_CHARS = 100_000
# The width to which a narrow terminal may fold a column with `overflow="fold"`.
_FOLDED_CHARS = 8
# Minimum time between two warnings of the same kind, in seconds.
_WARNING_INTERVAL_S = 30.0


class Terminal(Console):
    """A console that interprets no markup and shows control characters as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as `rich` does, except that a table exceeds a terminal that would cut cells of columns with `no_wrap`."""
        for table in objects:
            if isinstance(table, Table):
                self._widen(table)
                options["crop"] = False
        super().print(*objects, **options)

    def _widen(self, table: Table) -> None:
        unbounded = self.options.update(max_width=_UNBOUNDED_CHARS)
        num_foldable = 0
        for column in table.columns:
            cells = column.header, *column.cells, column.footer
            widths = [Measurement.get(self, unbounded, cell) for cell in cells]
            if column.no_wrap:
                column.min_width = max(width.maximum for width in widths)
            elif column.overflow == "fold":
                num_foldable += max(0, max(width.minimum for width in widths) - _FOLDED_CHARS)
        needed_chars = Measurement.get(self, unbounded, table).minimum - num_foldable
        if needed_chars > self.width:
            table.width = needed_chars

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of `rich`; only the control codes of the console itself remain."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escape_controls(segment.text, keeps_lines=True), segment.style)


def json_line(value: Any) -> str:
    """Return a value as JSON on one line; control characters that JSON permits are escaped, too."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(value).decode())


def count_noun(number: int, noun: str) -> str:
    """Return a number with its noun, which gets an `s` unless the number is 1."""
    return f"{number} {noun}{'s' * (number != 1)}"


class _Warnings(logging.Handler):
    """Prints warnings of the Kafka client, each kind at most once in `_WARNING_INTERVAL_S`."""

    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        # Time of the last warning of each kind, in seconds of a monotonic clock.
        self._printed_s: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning, unless a warning of its kind was printed recently."""
        kind, now_s = str(record.msg), time.monotonic()
        if now_s - self._printed_s.get(kind, -_WARNING_INTERVAL_S) >= _WARNING_INTERVAL_S:
            self._printed_s[kind] = now_s
            self._console.print(escape_controls(record.getMessage()), style="dim", soft_wrap=True)


@contextlib.contextmanager
def client_warnings(console: Terminal) -> Iterator[None]:
    """Print warnings of the Kafka client during the block: they show the reason if a command waits."""
    logger, handler = logging.getLogger("aiokafka"), _Warnings(console)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

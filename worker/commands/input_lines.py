"""Lines of a file, a pipe or a terminal, as they arrive. A thread waits for them, so that the event loop does not."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import functools
import io
import os
import re
import select
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

# The size of a piece, and the maximum number of pieces that are read before they are sent.
_PIECE_BYTES, _MAX_PIECES_AHEAD = 65_536, 16
# The Kafka client sends no larger record.
MAX_LINE_BYTES = 1_048_576
_LINE_END = re.compile(rb"\r\n|\n|\r")
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


@dataclass(frozen=True, slots=True)
class LineSource:
    """A file by its name, or standard input."""

    #: None for standard input.
    path: Path | None

    @classmethod
    def find(cls, path: Path | None) -> LineSource:
        """Return the source of a path, where `-` is standard input; raises `BadSettings` if it cannot be read."""
        if path is None or path == Path("-"):
            if sys.stdin is None:
                raise BadSettings("standard input is closed: name a file")
            return cls(None)
        try:
            if path.is_dir():
                raise BadSettings(f"{path}: it is a directory, not a file of lines")
            if path.is_file():
                path.open("rb").close()
            else:
                path.stat()
        except OSError as error:
            raise BadSettings(f"{path}: {error.strerror}") from error
        return cls(path)

    def __str__(self) -> str:
        """Return the name for messages."""
        return "standard input" if self.path is None else str(self.path)

    @property
    def is_repeatable(self) -> bool:
        """Whether the lines can be read a second time: those of a pipe cannot."""
        return self.path is not None and self.path.is_file()

    @property
    def is_terminal(self) -> bool:
        """Whether the lines are typed."""
        return self.path is None and sys.stdin.isatty()

    def check(self) -> None:
        """Read a file to its end; raises `BadSettings` if a line is not text."""
        splitter, number, piece = Splitter(), 0, b"-"
        with _open(self.path) as read:
            while piece:
                piece = read()
                for line in splitter.feed(piece, self) if piece else splitter.finish():
                    number += 1
                    decode(line, self, number)

    async def lines(self) -> AsyncGenerator[str, None]:
        """Yield each line when it is complete, without its line end; raises `BadSettings` at a line that is not text."""
        splitter, number = Splitter(), 0
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                for line in splitter.feed(piece, self) if piece else splitter.finish():
                    number += 1
                    yield decode(line, self, number)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces that a thread reads, at last an empty one. The end of the process does not wait for the thread."""
        loop, arrived = asyncio.get_running_loop(), asyncio.Queue[bytes | OSError]()
        wanted, is_over = threading.Semaphore(_MAX_PIECES_AHEAD), threading.Event()

        def give(found: bytes | OSError) -> None:
            # The loop may be closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(arrived.put_nowait, found)

        def work() -> None:
            piece = b"-"
            try:
                with _open(self.path) as read:
                    while piece and wanted.acquire() and not is_over.is_set():
                        give(piece := read())
            except OSError as error:
                give(error)

        threading.Thread(target=work, daemon=True, name="read-lines").start()
        try:
            while not isinstance(found := await arrived.get(), OSError):
                yield found
                wanted.release()
                if not found:
                    return
            raise BadSettings(f"{self}: {found.strerror}")
        finally:
            is_over.set()
            wanted.release()


@dataclass(slots=True)
class Splitter:
    """Splits pieces into lines, which end with LF, CR LF or CR. Pure."""

    # The beginning of an incomplete line.
    _rest: bytearray = field(default_factory=bytearray)
    # Whether the last piece ended with a CR, to which an LF may still belong.
    _ended_with_cr: bool = False
    _num_lines: int = 0

    def feed(self, piece: bytes, source: object) -> Iterator[bytes]:
        """Yield the lines that a piece completes; raises `BadSettings` with the name of the source if a line is too long."""
        if self._ended_with_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._ended_with_cr = piece.endswith(b"\r") if piece else False
        *ended, rest = _LINE_END.split(piece)
        for line in ended:
            self._num_lines += 1
            yield bytes(self._rest) + line
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > MAX_LINE_BYTES:
            raise BadSettings(f"{source}, line {self._num_lines + 1}: it is longer than a record may be, {MAX_LINE_BYTES} bytes")

    def finish(self) -> Iterator[bytes]:
        """Yield the last line if it has no line end."""
        if self._rest:
            yield bytes(self._rest)
        self._rest.clear()


def decode(line: bytes, source: object, number: int) -> str:
    """Return a line as text, without a byte order mark; raises `BadSettings` if it is not UTF-8."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        if number == 1 and line.startswith(_WIDE_MARKS):
            raise BadSettings(_not_text(source, number, "it is UTF-16 or UTF-32", "UTF-16")) from error
        found = f"byte {line[error.start]:#04x} at {error.start + 1} is not UTF-8"
        raise BadSettings(_not_text(source, number, found, "ISO-8859-1")) from error
    if "\0" in text:
        raise BadSettings(_not_text(source, number, "it holds NUL characters, as UTF-16 does", "UTF-16"))
    return text.lstrip("\ufeff")


def _not_text(source: object, number: int, what: str, encoding: str) -> str:
    return f"{source}, line {number}: {what}; convert the text first, for example with `iconv -f {encoding} -t UTF-8`"


@contextlib.contextmanager
def _open(path: Path | None) -> Iterator[Callable[[], bytes]]:
    """Provide a function that reads the next piece, an empty one at the end. Opening a named pipe waits for its writer."""
    if path is not None:
        # Unbuffered: a buffer would hold a lock that the end of the process waits for.
        with path.open("rb", buffering=0) as file:
            yield functools.partial(file.read, _PIECE_BYTES)
        return
    try:
        descriptor = sys.stdin.fileno()
    except io.UnsupportedOperation:
        # Standard input is not a file of the system if a program runs the command in its own process.
        yield functools.partial(sys.stdin.buffer.read, _PIECE_BYTES)
    else:
        yield functools.partial(_read_ready, descriptor)


def _read_ready(descriptor: int) -> bytes:
    """Wait for input and return it, even if the parent process has made standard input non-blocking."""
    select.select([descriptor], [], [])
    return os.read(descriptor, _PIECE_BYTES)

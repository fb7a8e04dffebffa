"""Input lines from files, pipes and terminals: each line is available at once, and must be valid UTF-8."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.commands.input_lines import MAX_LINE_BYTES, LineSource, Splitter
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Sequence


async def _lines(path: Path | None) -> list[str]:
    return [line async for line in LineSource.find(path).lines()]


def _split(pieces: Sequence[bytes]) -> list[bytes]:
    splitter = Splitter()
    return [line for piece in pieces for line in splitter.feed(piece, "input")] + list(splitter.finish())


@given(
    st.lists(st.sampled_from([b"a", b"\r", b"\n", "é".encode(), b" "]), max_size=30).map(b"".join),
    st.lists(st.integers(0, 40), max_size=8),
)
def test_lines_do_not_depend_on_where_the_pieces_end(content: bytes, cuts: list[int]) -> None:
    """LF, CR LF and CR end a line, as in a file that is read at once."""
    places = [0, *sorted(cuts), len(content)]
    pieces = [piece for start, end in itertools.pairwise(places) if (piece := content[start:end])]
    assert _split(pieces) == content.splitlines()


def test_a_line_without_an_end_is_not_collected_for_ever() -> None:
    """A line that is too long for a record ends with an error that names the line."""
    with pytest.raises(BadSettings, match="input, line 2: it is longer"):
        _split((b"first\n", *[b"x" * 65_536] * (MAX_LINE_BYTES // 65_536 + 1)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\ufeffHello\r\nsecond\r\n".encode(), ["Hello", "second"]),
        ("a\n\ufeffb\n".encode(), ["a", "b"]),
        (b"one\rtwo\r", ["one", "two"]),
        ("no end: žluťoučký".encode(), ["no end: žluťoučký"]),
        (b"", []),
        (b"\n \n", ["", " "]),
    ],
)
async def test_a_byte_order_mark_and_line_ends_are_no_part_of_a_text(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    """Byte order marks are also removed between concatenated files."""
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    LineSource.find(file).check()
    assert await _lines(file) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"good\ncaf\xe9 au lait\n", r"line 2: byte 0xe9 at 4 is not UTF-8; .* for example with `iconv -f ISO-8859-1 -t UTF-8`"),
        ("Hello\n".encode("utf-16"), r"line 1: it is UTF-16 or UTF-32; .* `iconv -f UTF-16 -t UTF-8`"),
        ("\ufeffHello\n".encode("utf-16-be"), "line 1: it is UTF-16"),
        ("\ufeffHello\n".encode("utf-32-le"), "line 1: it is UTF-16 or UTF-32"),
        ("Hello\n".encode("utf-16-le"), "line 1: it holds NUL characters, as UTF-16 does"),
        (b"truncated \xc3", r"line 1: byte 0xc3 at 11"),
    ],
)
async def test_a_line_that_is_not_utf_8_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    """Invalid bytes are an error, and are never replaced."""
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    with pytest.raises(BadSettings, match=re.escape(str(file)) + ", " + reason):
        LineSource.find(file).check()
    with pytest.raises(BadSettings, match=reason):
        await _lines(file)


async def test_a_line_is_there_before_the_next_is_written(tmp_path: Path) -> None:
    """The source is a named pipe that stays open, and its writer starts after the reader."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = LineSource.find(pipe)
    assert not source.is_repeatable
    lines = source.lines()
    first = asyncio.ensure_future(anext(lines))
    with await asyncio.to_thread(pipe.open, "wb", buffering=0) as writer:
        writer.write(b"one\ntw")
        assert await first == "one"
        writer.write(b"o\r")
        assert await anext(lines) == "two"
    with pytest.raises(StopAsyncIteration):
        await anext(lines)


def test_sources_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes before any record is sent."""
    with pytest.raises(BadSettings, match=r"none\.txt: No such file"):
        LineSource.find(tmp_path / "none.txt")
    with pytest.raises(BadSettings, match="it is a directory"):
        LineSource.find(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadSettings, match="standard input is closed"):
        LineSource.find(Path("-"))

"""Untrusted text in a terminal: it is shown, and changes neither the terminal nor the markup."""

from __future__ import annotations

import io
import json
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from worker.commands.output_encoding import escape_controls
from worker.commands.terminal import Terminal, json_line

# The escape sequences that the console makes itself, for colours.
_STYLES = re.compile(r"\x1b\[[0-9;]*m")
_CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _printed(*objects: object) -> str:
    console = Terminal(file=io.StringIO(), force_terminal=True, width=100)
    console.print(*objects)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@given(st.text())
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    """Lines, styled texts and table cells escape control characters and show markup as text."""
    table = Table(text)
    table.add_row(text)
    for printed in (_printed(text), _printed(Text(text, style="red")), _printed(table)):
        assert not _CONTROLS.search(_STYLES.sub("", printed))


def test_markup_and_controls_are_shown_as_they_are() -> None:
    """An identifier such as `order[/]` keeps its brackets, and raises no error."""
    assert _printed("order[/] [red]x[/red] :smile:") == "order[/] [red]x[/red] :smile:\n"
    assert _printed("a\x1b[2Jb\x9b1m") == "a\\x1b[2Jb\\x9b1m\n"
    assert escape_controls("a\r\nb\tc\u202e") == "a\\r\\nb\\tc\\u202e"
    assert escape_controls("a\r\nb\tc", keeps_lines=True) == "a\\r\nb\tc"
    assert escape_controls("क\u200dष 👩\u200d🔬") == "क\u200dष 👩\u200d🔬"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_json_line_means_the_same_and_holds_no_controls(text: str) -> None:
    """The line also escapes DEL and the C1 controls, which JSON allows."""
    line = json_line({"id": text})
    assert json.loads(line) == {"id": text}
    assert not _CONTROLS.search(line)


def test_a_narrow_terminal_cuts_no_cell_that_must_not_wrap() -> None:
    """A table of an evaluation, a benchmark or the lag exceeds the terminal; the cells of other columns wrap."""
    console = Terminal(file=io.StringIO(), width=20)
    table = Table("what", title="figures", box=None)
    for name in ("precision", "recall", "found"):
        table.add_column(name, no_wrap=True)
    table.add_row("words that wrap", "[0.123, 0.456]", "[0.321, 0.654]", "1234567890")
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[1].split()[1:] == ["precision", "recall", "found"]
    assert any("[0.123, 0.456] [0.321, 0.654] 1234567890" in " ".join(line.split()) for line in lines)
    assert {"words", "that", "wrap"} <= {word for line in lines for word in line.split()}

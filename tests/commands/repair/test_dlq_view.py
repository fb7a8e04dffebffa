"""Tables of dead letters and lag: a narrow terminal does not truncate the values that other commands need."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest

from worker.broker.admin.groups import GroupDescription, GroupMember
from worker.broker.admin.offsets import GroupOffset
from worker.broker.log_bounds import LogBounds
from worker.commands.repair import dlq_view as dlq_shown
from worker.commands.repair import lag
from worker.commands.terminal import Terminal
from worker.records import Failure, Partition, Record, Stage
from worker.wire.dead_letters import DeadLetterRecord
from worker.wire.decode import Limits
from worker.wire.encode import encode_dead_letter

if TYPE_CHECKING:
    from rich.table import Table

REASON = "this text is longer than the model reads: it has 12,345 tokens and the limit of GIST_MAX_SEQ_LENGTH is 512 [/] \x1b[2J"


def _letter(offset: int, topic: str = "support-tickets") -> DeadLetterRecord:
    record = Record(Partition(topic, 11), 123_456_789 + offset, b"k", b"{}", (), 1_700_000_000_000)
    failure = Failure(Stage.TOKENIZE, "VeryLongNameOfAnError", REASON)
    message = encode_dead_letter(record, failure, model_name="m@1", limits=Limits()).messages[0]
    return DeadLetterRecord.read(
        Record(Partition(f"{topic}.dlq", 2), offset, None, message.value, message.headers, 1_700_000_000_000)
    )


def _shown(letters: list[DeadLetterRecord], width: int) -> str:
    console = Terminal(file=io.StringIO(), width=width)
    dlq_shown.table(console, letters, limit=0)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140, 200])
def test_the_number_of_a_letter_and_its_reason_are_whole_at_any_width(width: int) -> None:
    """`show`, `replay --letter` and `drop --letter` take the number."""
    shown = _shown([_letter(1_234_567), _letter(7)], width)
    assert {"2@1234567", "2@7"} <= set(shown.split())
    reason = "".join(REASON.replace("\x1b", "\\x1b").split())
    header, *rows = shown.partition("\n\n")[2].splitlines()
    assert "".join("".join(row[header.index("reason") :] for row in rows).split()).count(reason) == 2
    assert "…" not in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= width


def test_a_narrow_list_leaves_out_what_says_least() -> None:
    """A narrow table drops columns, but shows the source topic if there are several topics."""
    assert all(name in _shown([_letter(1)], 160) for name in ("attempts", "replay", "2023-11-14 22:13:20", "support-tickets-11@"))
    narrow = _shown([_letter(1)], 100)
    assert not any(name in narrow for name in ("attempts", "replay", ":20", "support-tickets"))
    assert "11@" in narrow
    assert "orders-11@" in _shown([_letter(1), _letter(2, "orders")], 139).replace("\n", "")


@pytest.mark.parametrize("width", [40, 80])
def test_the_numbers_of_the_lag_are_whole_where_names_are_long(width: int) -> None:
    """Names wrap to the next line, and numbers do not."""
    partition = Partition("a-topic-with-quite-a-long-name-in-some-company", 3)
    member = GroupMember("gist-stream-of-some-department", "/192.168.100.200", frozenset({partition}))
    found = [GroupOffset(partition, LogBounds(0, 1_234_567, 1_234_567), 1_000_000, member)]
    assert GroupDescription("Stable", (member,)).find_owner(partition) is member
    assert {"1000000", "1234567", "234567"} <= set(re.findall(r"\d+", _printed(lag._table(found), width)))


def _printed(table: Table, width: int) -> str:
    console = Terminal(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_record_cannot_add_lines_to_the_fields_of_a_letter() -> None:
    """Line ends in an error, and in the name of a header, are escapes."""
    record = Record(Partition("texts", 0), 5, b"k", b"{}", (("trace\nreplay     yes", b"1"),), 0)
    failure = Failure(Stage.INFER, "E", "broken\nreplay     yes")
    message = encode_dead_letter(record, failure, model_name="m@1", limits=Limits()).messages[0]
    console = Terminal(file=io.StringIO(), width=120)
    dlq_shown.whole(console, DeadLetterRecord.read(Record(Partition("texts.dlq", 0), 7, None, message.value, message.headers, 0)))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line for line in lines if line.startswith("replay")] == ["replay     yes"]
    assert "error      E: broken\\nreplay     yes" in lines

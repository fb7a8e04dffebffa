"""The commands of `gist-stream dlq`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.commands.repair import dlq, dlq_view
from worker.commands.repair.timestamps import moment_ms
from worker.commands.setting_flags import replace_by_flags
from worker.commands.terminal import Terminal, count_noun, json_line
from worker.errors import BadSettings
from worker.records import Stage, Task
from worker.wire.dead_letters import DeadLetterFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.settings import Settings

_MOMENT = "a time such as 2026-01-31T12:00:00Z, or a duration before now such as 2h"
# The type and the help of each flag, by the field of `DeadLetterFilter`.
_SELECTION: dict[str, tuple[object, str]] = {
    "names": (list[str] | None, "This dead letter, as `dlq list` names it: 0@17; may be repeated."),
    "stage": (Stage | None, "Only failures of this stage."),
    "error": (str | None, "Only errors of this class. Example: InvalidRecord."),
    "reason": (str | None, "Only errors whose message contains this text, in upper or lower case."),
    "task": (Task | None, "Only records of which this task alone failed."),
    "id": (str | None, "Only the record with this id."),
    "topic": (str | None, "Only records of this input topic."),
    "partition": (int | None, "Only records of this partition of the input topic."),
    "offset": (int | None, "Only the record at this offset of the input topic."),
    "since": (str | None, f"Only dead letters written at or after {_MOMENT}."),
    "until": (str | None, f"Only dead letters written before {_MOMENT}."),
}
_FLAGS = {"names": "--letter"}
# The end of the output of a command that changed nothing.
_HINT = ". Nothing is changed yet: add --execute"
_EXECUTE = typer.Option("--execute", help="Apply the change. Without this flag the command only shows what it would do.")
Execute = Annotated[bool, _EXECUTE]


def _with_selection(function: Callable[..., None]) -> Callable[..., int | None]:
    """Replace the parameter `selection` by a flag for each field of `DeadLetterFilter`."""

    def build(**given: Any) -> DeadLetterFilter:
        now_ms = round(time.time() * 1000)
        times = {name: given.pop(name) for name in ("since", "until")}
        moments = {f"{name}_ms": None if text is None else moment_ms(text, now_ms=now_ms) for name, text in times.items()}
        return DeadLetterFilter(**given | moments | {"names": frozenset(given["names"] or ())})

    flags = {
        name: Annotated[
            kind, typer.Option(_FLAGS.get(name, f"--{name}"), help=help_, rich_help_panel="Selection", show_default=False)
        ]
        for name, (kind, help_) in _SELECTION.items()
    }
    return replace_by_flags(function, "selection", flags, build)


async def _handle_letters(
    settings: Settings, selection: DeadLetterFilter, *, topics: Sequence[str], is_dry: bool
) -> dlq.DeadLetterCounts:
    """Replay or drop dead letters. Raises `BadSettings` before any change if a dead letter that is named does not exist."""
    for name in sorted(selection.names):
        await dlq.find_letter(settings, name)
    return await dlq.handle_letters(settings, selection, topics=topics, is_dry=is_dry)


@_with_selection
def list_dead_letters(
    settings: Settings,
    selection: DeadLetterFilter,
    *,
    includes_done: Annotated[bool, typer.Option("--done", help="Include dead letters that were replayed or dropped.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Number of dead letters to list, the oldest first. 0: all.")] = 50,
    is_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each dead letter.")] = False,
) -> None:
    """Count the dead letters by stage and error, and list them."""
    letters, counts = asyncio.run(dlq.list_letters(settings, selection, includes_done=includes_done))
    if is_json:
        for letter in letters[: limit or None]:
            typer.echo(json_line(dlq_view.plain(letter)))
        return
    dlq_view.table(Terminal(), letters, limit=limit)
    Terminal(soft_wrap=True).print(f"{count_noun(len(letters), 'dead letter')} in {dlq.get_topic(settings)}{counts}")


def show_dead_letter(
    settings: Settings,
    letter: Annotated[str, typer.Argument(help="The name of the dead letter, as `dlq list` prints it: 0@17.", show_default=False)],
    *,
    is_json: Annotated[bool, typer.Option("--json", help="Print the record of the dead letter as JSON.")] = False,
) -> None:
    """Show one dead letter with its decoded payload."""
    found = asyncio.run(dlq.find_letter(settings, letter))
    if is_json:
        typer.echo(json_line(dlq_view.plain(found) | {"says": found.content.model_dump()}))
    else:
        dlq_view.whole(Terminal(soft_wrap=True), found)


@_with_selection
def replay_dead_letters(
    settings: Settings,
    selection: DeadLetterFilter,
    *,
    to: Annotated[
        str | None, typer.Option(help="Send all records to this topic. Unset: each to its input topic.", show_default=False)
    ] = None,
    execute: Execute = False,
) -> None:
    """Send the records of dead letters again, in order. Without a selection: of all that were not replayed or dropped.

    Without --execute the command only counts them.

    A replayed record has its number of attempts in the header gist-attempt. If a single task had failed, gist-replay-task names it.
    A record whose payload was cut, or was not readable, cannot be replayed: the command counts it, and its dead letter remains.

    Records and progress are one transaction: after an interruption, run the same command again, and no record is sent twice.
    """
    topics = (to,) if to else settings.input_topics
    counts = asyncio.run(_handle_letters(settings, selection, topics=topics, is_dry=not execute))
    did = "replayed" if execute else "would be replayed"
    Terminal(soft_wrap=True).print(f"{counts.num_done} {did} into {' and '.join(topics)}{counts}{'' if execute else _HINT}")


@_with_selection
def drop_dead_letters(
    settings: Settings,
    selection: DeadLetterFilter,
    *,
    includes_all: Annotated[bool, typer.Option("--all", help="Drop all that were not replayed or dropped.")] = False,
    execute: Execute = False,
) -> None:
    """Mark dead letters as handled: no replay sends their records again.

    Without --execute the command only counts them. The topic keeps them until its retention deletes them; `dlq list --done` lists
    them.
    """
    is_selected = selection != DeadLetterFilter()
    if is_selected and includes_all:
        raise BadSettings("--all and flags that select, such as --stage, are both given: leave out --all or these flags")
    if not is_selected and not includes_all:
        raise BadSettings("no dead letter is selected: give --all to drop all, or a flag that selects, such as --stage or --since")
    counts = asyncio.run(_handle_letters(settings, selection, topics=(), is_dry=not execute))
    did = "dropped" if execute else "would be dropped"
    Terminal(soft_wrap=True).print(f"{counts.num_done} {did}{counts}{'' if execute else _HINT}")

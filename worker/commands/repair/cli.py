"""The command line of repair: `offsets show` and `reset`; `dlq list`, `show`, `replay` and `drop`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.commands.setting_flags import with_settings
from worker.records import Stage, Task
from worker.settings import Settings  # noqa: TC001  the flags are made from it at run time
from worker.wire.dead_letters import DeadLetterFilter  # noqa: TC001  the flags are made from it at run time

if TYPE_CHECKING:
    from collections.abc import Callable

offsets = typer.Typer(no_args_is_help=True, help="Show where the group stands in the input topic, or set it anew.")
dlq = typer.Typer(
    no_args_is_help=True,
    help="Look into the dead letters, send their records again, or leave them be. Nothing is ever deleted: how far one came is the "
    "position of the group gist-stream-dlq:<topic>, and retention empties the topic.",
)

# What each flag is, and means; it is named as the field of `DeadLetterFilter`.
_SELECTION: dict[str, tuple[object, str]] = {
    "names": (list[str] | None, "This letter, as `dlq list` names it: 0@17; may be repeated."),
    "stage": (Stage | None, "Only what failed at this step."),
    "error": (str | None, "Only errors of this class: InvalidRecord."),
    "reason": (str | None, "Only where the message holds this, whatever its case."),
    "task": (Task | None, "Only where this task alone failed."),
    "id": (str | None, "Only the record with this id."),
    "topic": (str | None, "Only records of this input topic."),
    "partition": (int | None, "Only records of this partition of the input topic."),
    "offset": (int | None, "Only the record at this offset of the input topic."),
    "since": (str | None, "Only letters that are not older: 2026-01-31T12:00:00Z, or 2h for two hours ago."),
    "until": (str | None, "Only letters that are older, likewise."),
}
_FLAGS = {"names": "--letter"}


def _with_selection(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each way to choose letters; what is said reaches the function as its `selection`."""

    def command(**arguments: Any) -> None:
        from worker.commands.repair.dlq import build_filter  # noqa: PLC0415  heavy

        said = {name: arguments.pop(name) for name in _SELECTION}
        function(selection=build_filter(**said | {"names": frozenset(said["names"] or ())}), **arguments)

    own = [it for it in inspect.signature(function, eval_str=True).parameters.values() if it.name != "selection"]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                kind,
                typer.Option(_FLAGS.get(name, f"--{name}"), help=help_, rich_help_panel="Which letters", show_default=False),
            ],
        )
        for name, (kind, help_) in _SELECTION.items()
    ]
    own = [it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in own]
    command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command


@offsets.command("show")
@with_settings
def offsets_show(settings: Settings) -> None:
    """Print what the group has committed of each partition, its end and its lag, and who reads it."""
    from worker.commands.repair import offsets as command  # noqa: PLC0415  heavy

    command.show(settings)


@offsets.command("reset")
@with_settings
def offsets_reset(
    settings: Settings,
    *,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="To the oldest record that is there.")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="To the end: leave out all that is there.")] = False,
    to_offset: Annotated[int | None, typer.Option(min=0, help="To this offset, or the nearest that is there.")] = None,
    to_timestamp: Annotated[
        str | None, typer.Option(help="To the first record that is not older: 2026-01-31T12:00:00Z, UTC where no zone is named.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Of this topic. Unset: the input topic.", show_default=False)] = None,
    by_duration: Annotated[str | None, typer.Option(help="To the first record of the last while: 90s, 30m, 2h, 7d.")] = None,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="Only this partition; may be repeated.")] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this it is only said.")] = False,
) -> None:
    """Let the group stand elsewhere: back, to process again; on, to leave out. Its workers must be stopped.

    Without --execute nothing changes. A reset back makes the outputs of what is processed again a second time, also with
    GIST_DELIVERY=exactly_once.
    """
    from worker.commands.repair import offsets as command  # noqa: PLC0415  heavy

    target = command.Target(earliest=to_earliest, latest=to_latest, offset=to_offset, timestamp=to_timestamp, duration=by_duration)
    command.reset(settings, target, topic=topic or settings.input_topic, partitions=partition or (), executes=execute)


@dlq.command("list")
@with_settings
@_with_selection
def dlq_list(
    settings: Settings,
    selection: DeadLetterFilter,
    *,
    includes_done: Annotated[bool, typer.Option("--done", help="Also those that were replayed or dropped.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Show so many, the oldest first. 0: all.")] = 50,
    is_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each.")] = False,
) -> None:
    """Count the dead letters by stage and error, and show them."""
    from worker.commands.repair import dlq as command  # noqa: PLC0415  heavy

    command.list_(settings, selection, includes_done=includes_done, limit=limit, is_json=is_json)


@dlq.command("show")
@with_settings
def dlq_show(
    settings: Settings,
    letter: Annotated[str, typer.Argument(help="Its name, as `dlq list` gives it: 0@17.", show_default=False)],
    *,
    is_json: Annotated[bool, typer.Option("--json", help="Print it as it stands, as JSON.")] = False,
) -> None:
    """Show one dead letter whole, its payload decoded."""
    from worker.commands.repair import dlq as command  # noqa: PLC0415  heavy

    command.show(settings, letter, is_json=is_json)


@dlq.command("replay")
@with_settings
@_with_selection
def dlq_replay(
    settings: Settings,
    selection: DeadLetterFilter,
    *,
    to: Annotated[
        str | None, typer.Option(help="Send to this topic. Unset: to that from which each came.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
) -> None:
    """Send the records again as they were, in order; without a choice, of all letters that are not done with.

    Each carries how often it is tried (gist-attempt), and where one task alone had failed, which (gist-due). A record that was cut,
    or that could not be read, cannot be replayed: it is counted and stays. Sending and remembering are one transaction: a replay
    that is interrupted, however, repeats nothing when it is run again.
    """
    from worker.commands.repair import dlq as command  # noqa: PLC0415  heavy

    command.replay(settings, selection, to=to, is_dry=dry_run)


@dlq.command("drop")
@with_settings
@_with_selection
def dlq_drop(
    settings: Settings,
    selection: DeadLetterFilter,
    *,
    includes_all: Annotated[bool, typer.Option("--all", help="All letters that are not done with.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without this it is only said.")] = False,
) -> None:
    """Leave letters be: they are done with, and no replay sends them any more.

    The topic itself keeps them until its retention takes them away; `dlq list --done` still shows them.
    """
    from worker.commands.repair import dlq as command  # noqa: PLC0415  heavy

    command.drop(settings, selection, includes_all=includes_all, executes=yes)

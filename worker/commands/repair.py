"""The command line of repair: `offsets show`, `offsets reset`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.commands.flags import with_settings
from worker.settings import Settings  # noqa: TC001  the flags are made from it at run time

offsets = typer.Typer(no_args_is_help=True, help="Show where the group stands in the input topic, or set it anew.")


@offsets.command("show")
@with_settings
def offsets_show(settings: Settings) -> None:
    """Print what the group has committed of each partition, its end and its lag, and who reads it."""
    from worker.commands import offsets as command  # noqa: PLC0415  heavy

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
    by_duration: Annotated[str | None, typer.Option(help="To the first record of the last while: 90s, 30m, 2h, 7d.")] = None,
    partition: Annotated[list[int] | None, typer.Option(min=0, help="Only this partition; may be repeated.")] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it. Without this it is only said.")] = False,
) -> None:
    """Let the group stand elsewhere: back, to process again; on, to leave out. Its workers must be stopped.

    Without --execute nothing changes. A reset back makes the outputs of what is processed again a second time, also with
    GIST_DELIVERY=exactly_once.
    """
    from worker.commands import offsets as command  # noqa: PLC0415  heavy

    target = command.Target(earliest=to_earliest, latest=to_latest, offset=to_offset, timestamp=to_timestamp, duration=by_duration)
    command.reset(settings, target, partitions=partition or (), executes=execute)

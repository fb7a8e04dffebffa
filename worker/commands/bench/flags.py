"""Flags that several benchmarks share."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

import typer

from worker.bench.frame.report import ReportOutputs
from worker.commands.setting_flags import replace_by_flags
from worker.commands.terminal import Terminal
from worker.errors import BadSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_WIDTH = 190
#: The deliveries of the worker.
DELIVERIES: tuple[str, ...] = get_args(Settings.model_fields["delivery"].annotation)

Delivery: TypeAlias = Annotated[str, typer.Option(help="Deliveries, comma-separated. Default: all. Example: exactly_once.")]
Partitions: TypeAlias = Annotated[int, typer.Option(min=1, help="Partitions of the topics.")]
Seconds: TypeAlias = Annotated[float, typer.Option(min=2, help="Duration of each offered load, in seconds.")]
Quick: TypeAlias = Annotated[bool, typer.Option("--quick", help="Measure less: at most about two minutes.")]
Count: TypeAlias = Annotated[int, typer.Option(min=100, help="Records of each backlog.")]
Cache: TypeAlias = Annotated[Path, typer.Option(help="Directory of downloaded texts.")]
_OUTPUTS: dict[str, Any] = {
    "is_json": Annotated[bool, typer.Option("--json", help="Print all results as JSON instead of tables.", show_default=False)],
    "is_markdown": Annotated[
        bool,
        typer.Option(
            "--markdown",
            help="Print a section for docs/reference/benchmarks.md: command, commit, date, processor, tables.",
            show_default=False,
        ),
    ],
    "output": Annotated[
        Path | None, typer.Option(help="Write JSON to this file, or Markdown with --markdown. Example: stream.json.")
    ],
    "plot": Annotated[Path | None, typer.Option(help="Write a plot to this PNG file. Example: stream.png.")],
    "is_published": Annotated[
        bool,
        typer.Option(
            "--publish",
            help="In a checkout, replace the section of this processor class in docs/reference/benchmarks.md and, for the engine, "
            "the table and the picture of README.md.",
            show_default=False,
        ),
    ],
}


def write_report(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Return a command with the flags of a report; the function gets `outputs`, checked before anything is measured.

    The command raises `BadSettings` if a file cannot be written.
    """

    def build(
        *, is_json: bool | None, is_markdown: bool | None, output: Path | None, plot: Path | None, is_published: bool | None
    ) -> ReportOutputs:
        outputs = ReportOutputs(
            as_json=bool(is_json),
            as_markdown=bool(is_markdown),
            file=output,
            plot=plot,
            checkout=Path.cwd() if is_published else None,
            command=shlex.join(["gist-stream", *sys.argv[1:]]),
        )
        outputs.check()
        return outputs

    return replace_by_flags(function, "outputs", _OUTPUTS, build)


def build_console() -> Terminal:
    """Return the console of standard output; without a terminal it has room for the widest table."""
    return Terminal(width=None if sys.stdout.isatty() else _WIDTH)


def parse_counts(text: str, *, flag: str) -> tuple[int, ...]:
    """Return the numbers of a comma-separated list; raises `BadSettings` if it has anything but whole numbers from 1."""
    counts = tuple(int(part) for part in text.replace(" ", "").split(",") if part.isdecimal() and int(part))
    if not counts or len(counts) != len(text.split(",")):
        raise BadSettings(f"{flag} {text}: write whole numbers from 1, comma-separated, for example 1,2")
    return counts


def parse_deliveries(text: str) -> tuple[str, ...]:
    """Return the deliveries of a comma-separated list, all if it is empty; raises `BadSettings` for an unknown one."""
    return parse_names(text, DELIVERIES, flag="--delivery")


def parse_names(text: str, allowed: Sequence[str], *, flag: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, all if it is empty; raises `BadSettings` for a name that is not allowed."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if unknown := set(names) - set(allowed):
        raise BadSettings(f"{flag} {', '.join(sorted(unknown))}: choose from {', '.join(allowed)}")
    return names or tuple(allowed)

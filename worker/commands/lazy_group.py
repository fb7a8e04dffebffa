"""Groups of commands whose modules are imported when a command runs or shows its help."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from worker.commands.setting_flags import add_setting_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command: a function by its path, `package.module:function`, whose result is None or the exit code."""

    path: str
    #: One line for the list of commands. The help of the command is the docstring of the function.
    summary: str
    example: str
    #: The heading in the list of commands.
    panel: str = "Commands"
    #: The settings that the command reads, as its flags; None if the function has no parameter `settings`.
    settings: Collection[str] | None = None

    def load(self, name: str) -> Any:
        """Import the function and return the command."""
        module, _, attribute = self.path.partition(":")
        function: Callable[..., int | None] = getattr(importlib.import_module(module), attribute)
        if self.settings is not None:
            function = add_setting_flags(function, self.settings)
        info = CommandInfo(name, cls=PanelCommand, callback=_exit_with_result(function), epilog=format_example(self.example))
        return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandGroup:
    """Commands that share their first word."""

    summary: str
    help: str
    example: str
    commands: Mapping[str, Command]
    panel: str = "Commands"
    #: The command that runs if the first argument names none.
    default: str | None = None

    def load(self, name: str) -> Any:
        """Return the group; none of its commands is imported."""
        return LazyGroup(
            declared=self.commands,
            default=self.default,
            name=name,
            help=self.help,
            epilog=format_example(self.example),
            no_args_is_help=True,
            rich_markup_mode=None,
        )


@dataclass(frozen=True, slots=True)
class _Completion:
    """A word that a shell may complete, with the attributes that typer reads."""

    value: str
    help: str
    type: str = "plain"


class LazyGroup(TyperGroup):
    """A group that lists its commands under headings and imports none of them for that."""

    declared: ClassVar[Mapping[str, Command | CommandGroup]] = {}

    def __init__(
        self, *, declared: Mapping[str, Command | CommandGroup] | None = None, default: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self._declared = self.declared if declared is None else declared
        self._default = default
        self.commands = dict[str, Any](self._declared)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  click passes the context
        """Import a command; None if there is no such command."""
        return self._declared[cmd_name].load(cmd_name) if cmd_name in self._declared else None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the default command if the first argument names no command and asks for no help."""
        if self._default and args and args[0] not in self._declared and args[0] not in ctx.help_option_names:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  typer passes the context
        """Write the name and the summary of each command, grouped by panel."""
        width = max(map(len, self._declared))
        for panel in dict.fromkeys(entry.panel for entry in self._declared.values()):
            rows = [(f"{name:{width}}", entry.summary) for name, entry in self._declared.items() if entry.panel == panel]
            with formatter.section(panel):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the commands whose names begin with the incomplete word, then the options of the group."""
        options = super(TyperGroup, self).shell_complete(ctx, incomplete)
        return [
            *(_Completion(name, entry.summary) for name, entry in self._declared.items() if name.startswith(incomplete)),
            *options,
        ]


class PanelCommand(TyperCommand):
    """A command whose help groups its parameters under headings. A long name has a line of its own, so it is never cut."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the parameters of each panel."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (row := parameter.get_help_record(ctx)) is not None:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or default, []).append(row)
        for panel, rows in panels.items():
            with formatter.section(panel):
                # Settings have long names and descriptions: the description begins below the name.
                formatter.write_dl(rows, col_max=6 if panel.endswith("(settings)") else 30)


def format_example(example: str) -> str:
    """Return the end of a help page: the lines of an example, which the formatter leaves as they are."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in example.splitlines())])


def _exit_with_result(function: Callable[..., int | None]) -> Callable[..., None]:
    """Return a function that ends the process with the exit code that `function` returns."""

    @functools.wraps(function)
    def command(**arguments: Any) -> None:
        if code := function(**arguments):
            raise typer.Exit(code)

    return command

"""A flag for every setting, for each command that reads them."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.commands.variables import find_warnings
from worker.settings import Settings, read

if TYPE_CHECKING:
    from collections.abc import Callable

# These show the warnings in their own way: as log lines, and among what they checked.
_WARNING_COMMANDS = {"run", "check"}
_SILENT = logging.NullHandler()


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for every setting; what is given reaches the function as its `settings`."""

    def command(**arguments: Any) -> None:
        # What a command cannot do it says itself, in one line. A worker logs what the client says, and sets that up later.
        logging.getLogger("aiokafka").addHandler(_SILENT)
        flags = {name: arguments.pop(name) for name in Settings.model_fields}
        settings = read({name: value for name, value in flags.items() if value is not None})
        if function.__name__ not in _WARNING_COMMANDS:
            for warning in find_warnings():
                typer.echo(f"gist-stream: warning: {warning}", err=True)
        function(settings=settings, **arguments)

    own = [it for it in inspect.signature(function, eval_str=True).parameters.values() if it.name != "settings"]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                str | None,
                typer.Option("--" + name.replace("_", "-"), help=field.description, rich_help_panel="Settings", show_default=False),
            ],
        )
        for name, field in Settings.model_fields.items()
    ]
    own = [it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in own]
    command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    command.__annotations__ = {it.name: it.annotation for it in [*own, *flags]}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command

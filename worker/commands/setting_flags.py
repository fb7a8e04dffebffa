"""Flags for settings: each command takes those that it reads, with their defaults and allowed values."""

from __future__ import annotations

import asyncio
import inspect
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from worker.commands.variables import find_warnings
from worker.settings import Settings, read
from worker.settings.documents import GROUPS, format_default

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pydantic.fields import FieldInfo

_NAMES = [*Settings.model_fields]
#: All settings, for the worker.
ALL = tuple(_NAMES)
#: The connection to the brokers.
CONNECTION = (*_NAMES[: _NAMES.index("client_id") + 1], "request_timeout_ms")
#: The topics of a worker.
TOPICS = (
    "input_topic",
    "input_topic_pattern",
    "backfill_topic",
    "output_layout",
    "results_topic",
    "embeddings_topic",
    "labels_topic",
    "entities_topic",
    "dead_letter_topic",
)
#: What a worker without a stream reads: everything but the brokers, the group, the topics and the delivery.
SERVE = tuple(
    name
    for name in (
        *_NAMES[_NAMES.index("text_field") : _NAMES.index("delivery")],
        "output_layout",
        "result_field",
        "origin_in_values",
        *_NAMES[_NAMES.index("api") :],
    )
    if name not in {"api", "rollout_file"}
)
#: The settings that decide which outputs the worker publishes.
TASKS = ("tasks", "model")
#: The limits of a command's transactions.
TRANSACTIONS = ("max_transaction_records", "transaction_timeout_ms", "allow_old_brokers")
# These commands print warnings themselves: as log lines, and among the results of the check.
_WARNING_COMMANDS = {"run", "serve", "check"}
# The worker follows the topics of a pattern, and `try` reads them only if no text and no file is given.
_WITHOUT_TOPICS = {"run", "try_records"}
_SILENT = logging.NullHandler()


def add_setting_flags(function: Callable[..., int | None], names: Collection[str]) -> Callable[..., int | None]:
    """Return a command with a flag for each named setting; the function gets all settings as its parameter `settings`."""

    def build(**flags: Any) -> Settings:
        # A command prints its error in one line, so aiokafka's log is silent. The worker configures its log later.
        logging.getLogger("aiokafka").addHandler(_SILENT)
        settings = read({name: value for name, value in flags.items() if value is not None})
        if function.__name__ not in _WARNING_COMMANDS:
            for warning in find_warnings():
                typer.echo(f"gist-stream: warning: {warning}", err=True)
        needs_topics = "input_topic" in names and function.__name__ not in _WITHOUT_TOPICS
        return _resolve_topics(settings) if needs_topics else settings

    panel, flags = "", dict[str, Any]()
    for name, field in Settings.model_fields.items():
        panel = GROUPS.get(name, panel)
        if name in names:
            flags[name] = Annotated[str | None, _build_option(name, field, panel)]
    return replace_by_flags(function, "settings", flags, build)


def _resolve_topics(settings: Settings) -> Settings:
    """Return the settings with the topics that match the pattern, if there is one."""
    if not settings.input_topic_pattern:
        return settings
    from worker.composition.input_topics import resolve_pattern  # noqa: PLC0415  the Kafka client is imported slowly

    return asyncio.run(resolve_pattern(settings))


def replace_by_flags(
    function: Callable[..., int | None], parameter: str, flags: Mapping[str, Any], build: Callable[..., Any]
) -> Callable[..., int | None]:
    """Return the function with a flag for each entry in place of a parameter; `build` makes its value from the flags."""

    def command(**arguments: Any) -> int | None:
        value = build(**{name: arguments.pop(name) for name in flags})
        return function(**{parameter: value}, **arguments)

    # Modules of commands import these types for type checkers only, and the type of the parameter has no effect.
    types = {"Settings": Settings, "Path": Path, function.__annotations__[parameter]: Any}
    signature = inspect.signature(function, eval_str=True, locals=types)
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [old.replace(kind=keyword) for old in signature.parameters.values() if old.name != parameter]
    added = [inspect.Parameter(name, keyword, default=None, annotation=annotation) for name, annotation in flags.items()]
    command.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    command.__annotations__ = {new.name: new.annotation for new in [*own, *added]}
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    return command


def _build_option(name: str, field: FieldInfo, panel: str) -> Any:
    values, default = _list_values(field), format_default(name)
    return typer.Option(
        "--" + name.replace("_", "-"),
        help=f"{field.description} [{f'default: {default}' if default else 'unset by default'}]",
        metavar="|".join(values) or "VALUE",
        autocompletion=lambda: list(values),
        rich_help_panel=f"{panel} (settings)",
        show_default=False,
    )


def _list_values(field: FieldInfo) -> tuple[str, ...]:
    """Return the allowed values of a setting; empty if its type does not enumerate them."""
    if field.annotation is bool:
        return ("true", "false")
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()

"""The set-up of logs: structlog, and the logs of libraries through it."""

from __future__ import annotations

import logging
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson

from worker.observability.redaction import Redacting, only_foreign
from worker.observability.structured_log import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_FIRST_KEYS = ("timestamp", "level", "event")


def configure_logging(*, level: str, log_format: str, replica: int | None = None) -> None:
    """Set up structlog, and the standard library's logging through it; `log_format` is `auto`, `json` or `pretty`.

    If several workers write to one stream, each line has the number of its `replica`.
    """
    is_pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor]
    if is_pretty:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback
        )
        renderers = [_format_values, console]
    else:
        # Local variables are texts and secrets.
        tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
        renderers = [tracebacks, _order_keys, structlog.processors.JSONRenderer(serializer=_json)]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S" if is_pretty else "iso", utc=True),
        *([] if replica is None else [_add_replica(replica)]),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # Modules that the build of a wheel imports log through the standard library, with their fields as `extra`.
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # The client logs each step of a rebalance as INFO, and payloads and secrets below INFO, which no level shows.
    logging.getLogger("aiokafka").setLevel(logging.INFO if level == "debug" else max(logging.WARNING, logging.getLogger().level))
    handler.addFilter(only_foreign(Redacting()))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _add_replica(replica: int) -> structlog.typing.Processor:
    return lambda _logger, _method, event: {**event, "replica": replica}


def _order_keys(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an event with timestamp, level and name first."""
    return {key: event[key] for key in (*_FIRST_KEYS, *(key for key in event if key not in _FIRST_KEYS)) if key in event}


def _format_values(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return an event for people: without the name of the worker's logger, and with lists as words between commas."""
    shown = {key: _format(value) for key, value in event.items()}
    if shown.get("logger") == "gist-stream":
        del shown["logger"]
    return shown


def _format(value: object) -> object:
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}:{_format(part)}" for key, part in value.items())
    return value


def _json(event: MutableMapping[str, Any], **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()

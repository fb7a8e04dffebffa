"""Follow the results, joined by the position of their record in the input topic."""

from __future__ import annotations

import asyncio
import contextlib
import select
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import orjson
import typer
from rich.text import Text

from worker.broker.admin.offsets import fetch_log_bounds
from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import check_usable
from worker.broker.tools.clients import follow, read_to_end
from worker.commands import result_view as show
from worker.commands.output_encoding import escape_controls
from worker.commands.terminal import Terminal, client_warnings, json_line
from worker.composition.broker import build_connection, find_served_tasks, list_used_topics, map_routes
from worker.composition.input import build_mapping
from worker.composition.registry import open_result_reader
from worker.records import SPLIT_OUTPUTS, Output, Partition
from worker.testbed.delivery_audit import read_source
from worker.wire.headers import read_headers
from worker.wire.mapping import InputMapping
from worker.wire.result_values import drop_vectors, read_results

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from typing import TextIO

    from rich.console import Console

    from worker.broker.connection.connection import Connection
    from worker.records import Record
    from worker.settings import Settings

    # Topic, partition and offset of the input record.
    _Place: TypeAlias = tuple[str, int, int]

# A record that did not ask for every task never has all outputs: after this time, the received outputs are shown.
_JOIN_TIMEOUT_S = 1.0
_NO_TEXT = (
    "the outputs of GIST_OUTPUT_LAYOUT=split contain no text, so GIST_TEXT_FIELD and GIST_TEXT_TEMPLATE have no effect here: "
    "with GIST_OUTPUT_LAYOUT=enriched the worker publishes each record with its results"
)


@dataclass(slots=True)
class _Parts:
    """The received outputs of one record."""

    since_s: float
    values: dict[Output, dict[str, Any]] = field(default_factory=dict)
    #: The embeddings of the chunks of a long text, by number.
    chunks: dict[int, dict[str, Any]] = field(default_factory=dict)


class Joiner:
    """Joins the outputs of each record; the time is an argument."""

    def __init__(self, num_outputs: int = len(SPLIT_OUTPUTS) - 1) -> None:
        """Expect `num_outputs` outputs of each record, or a dead letter."""
        self._num_outputs = num_outputs
        # Records whose outputs are incomplete.
        self._waiting: dict[_Place, _Parts] = {}

    def add(self, output: Output, record: Record, now_s: float) -> Iterator[tuple[_Place, dict[Output, dict[str, Any]]]]:
        """Add an output; yield its record if it is complete. Raises `KeyError` or `ValueError` if the message is no output."""
        place = read_headers(record.headers).get("gist-source-topic", b"").decode(errors="replace"), *read_source(record)
        if record.value is None:
            return
        value = orjson.loads(record.value)
        if not isinstance(value, dict):
            raise ValueError("an output is an object")  # noqa: TRY004  the same error as for other messages that are no output
        parts = self._waiting.setdefault(place, _Parts(now_s))
        if "parent" in value and output is Output.EMBEDDINGS:
            parts.chunks[value["number"]] = value
            if len(parts.chunks) < value["count"]:
                return
            value = {"id": value["parent"], "chunks": [parts.chunks[number] for number in sorted(parts.chunks)]}
        parts.values[output] = value
        if output is Output.DEAD_LETTERS or len(parts.values) == self._num_outputs:
            yield place, self._waiting.pop(place).values

    def overdue(self, now_s: float) -> Iterator[tuple[_Place, dict[Output, dict[str, Any]]]]:
        """Yield the records whose join timeout has passed."""
        for place in [place for place, parts in self._waiting.items() if now_s - parts.since_s > _JOIN_TIMEOUT_S]:
            yield place, self._waiting.pop(place).values


def tail(
    settings: Settings,
    *,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Show the existing results first.")] = False,
    count: Annotated[int, typer.Option(min=0, help="End after this number of records. 0: follow until Ctrl-C.")] = 0,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Show the existing results, then end. Includes --from-beginning.")
    ] = False,
    no_vectors: Annotated[bool, typer.Option("--no-vectors", help="Leave the vectors out.")] = False,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON line for each record. This is the default if the output is not a terminal.")
    ] = False,
) -> None:
    """Follow the results: labels, entities and vectors of each record, and dead letters.

    The outputs of a record are joined by the partition and the offset of the record in the input topic. Layouts other than `split`
    contain the text, which is shown with its entities. `--text-field` names the field of the text in `enriched` and `qdrant`.
    """
    if settings.output_layout == "split" and settings.model_fields_set & {"text_field", "text_template"}:
        _say(_NO_TEXT)
    is_plain, mapping = is_json or not Terminal().is_terminal, build_mapping(settings)
    view = _View(settings.result_field, has_vectors=not no_vectors, is_json=is_plain, mapping=mapping)
    asyncio.run(_tail(settings, view, from_beginning=from_beginning, until_end=until_end, count=count))


@dataclass(frozen=True, slots=True)
class _View:
    """What to show of each record."""

    result_field: str
    has_vectors: bool
    is_json: bool
    #: The places of text and id in the layouts that repeat the input record.
    mapping: InputMapping = field(default_factory=InputMapping)


async def _tail(settings: Settings, view: _View, *, from_beginning: bool, until_end: bool, count: int) -> None:
    console, num_shown, is_waiting = Terminal(), 0, False
    tasks = find_served_tasks(settings)
    outputs = list_used_topics(settings, tasks)
    joiner = Joiner(len(map_routes(settings, tasks)[settings.live_topics[0]]) - 1)
    arriving = _read(build_connection(settings), list(outputs), from_beginning=from_beginning, until_end=until_end)
    async with contextlib.aclosing(arriving), contextlib.AsyncExitStack() as waiting:
        plain = await waiting.enter_async_context(open_result_reader(settings))
        async for fetched in arriving:
            records = [await plain(record) for record in fetched]
            if not is_waiting:
                is_waiting = True
                waiting.enter_context(client_warnings(Terminal(stderr=True)))
                if not until_end:
                    _say(f"waiting for results in {', '.join(outputs)} (Ctrl-C ends)")
            now_s = time.monotonic()
            joined = [found for record in records for found in _joined(joiner, outputs[record.partition.topic], record, now_s)]
            for place, values in [*joined, *joiner.overdue(now_s)]:
                _show(console, place, values, view)
                num_shown += 1
                if num_shown == count:
                    return
            if _is_closed(sys.stdout):
                return
    for place, values in joiner.overdue(float("inf")):
        _show(console, place, values, view)


async def _read(
    connection: Connection, topics: list[str], *, from_beginning: bool, until_end: bool
) -> AsyncGenerator[list[Record], None]:
    """Yield the records of topics: new ones as they arrive, or the existing ones up to the present end."""
    if not until_end:
        arriving = follow(connection, topics, from_beginning=from_beginning)
    else:
        found = await check_usable(connection, build_topic_rights(["Read"], topics))
        partitions = [Partition(topic, index) for topic, number in found.items() for index in range(number)]
        bounds = await fetch_log_bounds(connection, partitions)
        arriving = read_to_end(connection, {partition: bounds[partition].first for partition in partitions})
    async with contextlib.aclosing(arriving):
        async for records in arriving:
            yield records


def _joined(joiner: Joiner, output: Output, record: Record, now_s: float) -> list[tuple[_Place, dict[Output, dict[str, Any]]]]:
    """Return the record that an output completes, if any; print the position of a message that is no output."""
    try:
        return list(joiner.add(output, record, now_s))
    except (KeyError, ValueError):
        _say(f"{record.partition}@{record.offset} is no output of a worker and is left out")
        return []


def _say(words: str) -> None:
    Terminal(stderr=True).print(words, style="dim", soft_wrap=True)


def _is_closed(stream: TextIO) -> bool:
    """Return whether the reader of a pipe has ended, such as `head` after its last line."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    polling = select.poll()
    polling.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in polling.poll(0))


def _show(console: Console, place: _Place, values: dict[Output, dict[str, Any]], view: _View) -> None:
    if view.is_json:
        merged: dict[str, Any] = {}
        for value in values.values():
            merged |= value if view.has_vectors else drop_vectors(value, view.result_field)
        sys.stdout.write(json_line({"topic": place[0], "partition": place[1], "offset": place[2]} | merged) + "\n")
        sys.stdout.flush()
        return
    try:
        parts = _parts(values, view)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        parts = [Text(f"an output cannot be shown: {type(error).__name__}: {error}", style="red")]
    console.print(Text(f"{place[1]}@{place[2]}", style="dim"), *parts)


def _parts(values: dict[Output, dict[str, Any]], view: _View) -> list[Text]:
    """Return the parts of a line for people, in order."""
    if Output.DEAD_LETTERS in values:
        return [show.dead_letter(values[Output.DEAD_LETTERS])]
    results = read_results(values, view.result_field, view.mapping)
    parts: list[Text] = [] if results.id is None else [Text(escape_controls(results.id))]
    if results.labels is not None:
        parts.append(show.labelled(results.labels, results.values))
    if results.text is not None:
        parts.append(show.highlighted(results.text, results.entities or []))
    else:
        named = [{**entity, "start": 0, "end": len(entity["text"])} for entity in results.entities or []]
        parts += [show.highlighted(entity["text"], [entity]) for entity in named]
    if results.num_chunks:
        parts.append(Text(f"{results.num_chunks} chunks", style="dim"))
    if results.vector is not None and view.has_vectors:
        vector = results.vector
        parts.append(Text(f"{len(vector)} numbers: {', '.join(f'{number:.3f}' for number in vector[:2])}, …", style="dim"))
    return parts

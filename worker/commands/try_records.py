"""Try the settings on a few records, without a worker: what is read from each record, and what would be published."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.text import Text

from worker.broker.admin.offsets import fetch_log_bounds
from worker.broker.admin.permissions import build_topic_rights
from worker.broker.admin.topics import check_usable
from worker.broker.tools.clients import read_to_end
from worker.commands import result_view as show
from worker.commands.input_lines import LineSource
from worker.commands.output_encoding import escape_controls
from worker.commands.terminal import Terminal, json_line
from worker.composition.broker import build_connection, map_output_topics
from worker.composition.input_topics import resolve_pattern
from worker.composition.model import ModelLoader, select_tasks
from worker.composition.pipeline import build_outcome_builder
from worker.composition.registry import load_form
from worker.errors import BadSettings
from worker.records import Item, Output, Partition, Record, TokenizedItem
from worker.rollout.router import SingleModel
from worker.wire.chunks import CHUNKS_HEADER
from worker.wire.result_values import read_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from worker.flow.outcomes import OutcomeBuilder
    from worker.ports import ServedModel
    from worker.records import Outcome
    from worker.settings import Settings

_PLAIN_TEXT = (("content-type", b"text/plain"),)
# The width of the first column.
_LABEL_CHARS = 12


def try_records(
    settings: Settings,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts, or records as JSON objects. Unset: records of the input topic.")
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option(help="A file with the value of a record on each line; `-`: standard input.", show_default=False),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Key of the given texts and lines.", show_default=False)] = None,
    count: Annotated[int, typer.Option(min=1, help="Maximum records of the file, or of the end of the input topic.")] = 5,
    is_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each record.")] = False,
) -> None:
    """Show what a worker with these settings reads from records, and what it would publish.

    The records are the given texts, the lines of a file, or the last records of the input topic. Nothing is published and
    nothing is committed. Texts and files need no Kafka. The results are shown as JSON in every output format.
    """
    if texts and file:
        raise BadSettings("give texts or --file, but not both")
    records = read_records(settings, texts or (), file=file, key=None if key is None else key.encode(), count=count)
    model = ModelLoader(settings).load(settings.model).model
    tasks = select_tasks(settings, model)
    warn = Terminal(stderr=True, soft_wrap=True).print
    form = asyncio.run(load_form(settings, records))
    outcomes = build_outcome_builder(settings, tasks, model_name=model.name, warn=warn, form=form)
    for record in records:
        decoded, outcome = process_record(record, outcomes, model)
        if is_json:
            sys.stdout.write(json_line(describe_outcome(settings, decoded, outcome)) + "\n")
        else:
            for line in format_outcome(settings, decoded, outcome):
                Terminal(soft_wrap=True).print(line)


def read_records(settings: Settings, texts: Iterable[str], *, file: Path | None, key: bytes | None, count: int) -> list[Record]:
    """Return the records to try. Raises `BadSettings` if there are none, and `BrokerUnavailable`."""
    partition = Partition(settings.live_topics[0], 0)
    if file is not None:
        values = [line.encode() for line in asyncio.run(_read_lines(LineSource.find(file), count))]
        found = [Record(partition, number, key, value) for number, value in enumerate(values)]
    elif given := list(texts):
        found = [
            Record(partition, number, key, text.encode(), () if text.lstrip().startswith("{") else _PLAIN_TEXT)
            for number, text in enumerate(given)
        ]
    else:
        found = asyncio.run(_read_topics(settings, count))
    if not found:
        raise BadSettings(f"{file or ' and '.join(settings.input_topics)}: there is no record to try")
    return found


def process_record(record: Record, outcomes: OutcomeBuilder, model: ServedModel) -> tuple[Item | None, Outcome]:
    """Return the item of a record, or None, and its outcome."""
    decoded = outcomes.decode(record)
    if not isinstance(decoded, Item):
        return None, decoded
    models = SingleModel(model)
    tokenized = TokenizedItem(decoded, models.tokenize([decoded])[0])
    return decoded, outcomes.from_prediction(tokenized, models.infer([tokenized])[0])


def describe_outcome(settings: Settings, item: Item | None, outcome: Outcome) -> dict[str, Any]:
    """Return the place of a record, what was read from the record, and its outputs by topic, or the reason for none."""
    described: dict[str, Any] = {"record": f"{outcome.partition}@{outcome.offset}"}
    if item is not None:
        described |= {"id": item.id, "text": item.text, "tasks": sorted(item.tasks)}
    if outcome.skip_reason:
        described["skipped"] = outcome.skip_reason
    if outcome.failures:
        described["dead_letter"] = "; ".join(f"{failure.stage}: {failure.message}" for failure in outcome.failures)
    topics = map_output_topics(settings, outcome.partition.topic)
    return described | {"outputs": {topics[output]: value for output, value in _read_values(outcome, described.get("id"))}}


def format_outcome(settings: Settings, item: Item | None, outcome: Outcome) -> Iterator[Text]:
    """Yield the lines about a record for people."""
    yield Text(f"{outcome.partition}@{outcome.offset}", style="bold")
    if item is not None:
        yield _format_line("id", item.id)
        yield _format_line("text", item.text)
        yield _format_line("tasks", ", ".join(sorted(item.tasks)))
    for failure in outcome.failures:
        yield _format_line("dead letter", Text(f"{failure.stage}: {failure.message}", style="red"))
    if outcome.skip_reason:
        yield _format_line("skipped", outcome.skip_reason)
    elif not outcome.failures and item is None:
        yield _format_line("tombstone", "the earlier outputs of the key are deleted")
    values = {output: value for output, value in _read_values(outcome, item.id if item else None) if value is not None}
    if item is None or not values or outcome.failures:
        return
    results = read_results(values, settings.result_field)
    if results.labels is not None:
        yield _format_line("labels", show.labelled(results.labels, results.values))
    if results.entities is not None:
        entities = [{**entity, "start": 0, "end": len(entity["text"])} for entity in results.entities]
        yield _format_line("entities", Text("  ").join(show.highlighted(entity["text"], [entity]) for entity in entities))
    if results.vector is not None:
        yield _format_line("vector", f"{len(results.vector)} numbers")
    if results.num_chunks:
        yield _format_line("vectors", f"{results.num_chunks} chunks")


def _format_line(label: str, content: str | Text) -> Text:
    text = Text(escape_controls(content)) if isinstance(content, str) else content
    return Text.assemble((f"  {label:{_LABEL_CHARS}}", "dim"), text)


def _read_values(outcome: Outcome, identity: str | None) -> Iterator[tuple[Output, Mapping[str, Any] | None]]:
    """Yield the value of each output, null for a tombstone, and the chunks of a text in one value, as `tail` shows them.

    A dead letter repeats the record and is left out.
    """
    chunks: dict[Output, list[Mapping[str, Any]]] = {}
    for message in outcome.messages:
        value = None if message.value is None else orjson.loads(message.value)
        if value is not None and CHUNKS_HEADER in dict(message.headers):
            chunks.setdefault(message.output, []).append(value)
        elif not (outcome.failures and message.output is Output.DEAD_LETTERS):
            yield message.output, value
    for output, parts in chunks.items():
        yield output, {"id": identity, "chunks": parts}


async def _read_lines(source: LineSource, count: int) -> list[str]:
    lines: list[str] = []
    async with contextlib.aclosing(source.lines()) as arriving:
        async for line in arriving:
            lines += [line] * bool(line.strip())
            if len(lines) == count:
                break
    return lines


async def _read_topics(settings: Settings, count: int) -> list[Record]:
    """Return the last records of the input topics, at most `count` of all partitions, in order of their timestamps."""
    connection, topics = build_connection(settings), (await resolve_pattern(settings)).input_topics
    found = await check_usable(connection, build_topic_rights(["Read"], topics))
    partitions = [Partition(topic, index) for topic, number in found.items() for index in range(number)]
    bounds = await fetch_log_bounds(connection, partitions)
    positions = {partition: max(log.first, log.end - count) for partition, log in bounds.items()}
    records: list[Record] = []
    async with contextlib.aclosing(read_to_end(connection, positions)) as arriving:
        async for fetched in arriving:
            records += fetched
    newest = islice(sorted(records, key=lambda record: record.timestamp_ms, reverse=True), count)
    return sorted(newest, key=lambda record: record.timestamp_ms)

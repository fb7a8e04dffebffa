"""The topics, the group, the dead letters and the tokenizer of a worker, for the console."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.broker.admin.offsets import fetch_group_offsets
from worker.broker.admin.permissions import Right, build_topic_rights
from worker.broker.tools.clients import follow_newest
from worker.commands.repair import dlq, dlq_view
from worker.composition.broker import build_connection, find_served_tasks, list_used_topics
from worker.composition.registry import build_store, open_result_reader
from worker.console.live_view import PartitionOffsets
from worker.console.sources import GroupState
from worker.errors import BadModel, BadSettings, InvalidRecord
from worker.wire.dead_letters import DeadLetterFilter
from worker.wire.registered.frame import read_schema_id
from worker.wire.result_values import read_json_value

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from worker.records import Record
    from worker.registry.store import SchemaStore
    from worker.settings import Settings

# Existing records of each partition that are read at the start. A console that is further behind skips the records before them.
_NUM_NEWEST = 1_000
_MAX_LETTERS = 1_000


def list_topics(settings: Settings) -> list[str]:
    """Return the input topics and the topics that a worker with these settings writes."""
    return [*settings.input_topics, *list_used_topics(settings, find_served_tasks(settings))]


def build_rights(settings: Settings, *, allows_replay: bool) -> list[Right]:
    """Return the rights of a console. Input topics with several dead-letter topics have no list of dead letters."""
    rights = [*build_topic_rights(["Read"], list_topics(settings)), Right("Describe", "group", settings.group_id)]
    with contextlib.suppress(BadSettings):
        group_id = dlq.replay_group(settings)
        rights += dlq.build_rights(settings, settings.input_topics) if allows_replay else [Right("Describe", "group", group_id)]
    return rights


class WorkerTopics:
    """Reads the topics and the group of a worker with these settings."""

    def __init__(self, settings: Settings) -> None:
        """Read with the connection of the settings."""
        self._settings = settings

    async def follow(self) -> AsyncGenerator[list[Record], None]:
        """Yield the newest records of all topics, and then further records as they arrive."""
        settings, store = self._settings, build_store(self._settings)
        inputs = frozenset(settings.input_topics)
        arriving = follow_newest(build_connection(settings), list_topics(settings), num_records=_NUM_NEWEST)
        async with contextlib.AsyncExitStack() as closing:
            await closing.enter_async_context(contextlib.aclosing(arriving))
            read_result = await closing.enter_async_context(open_result_reader(settings))
            if store is not None:
                closing.push_async_callback(store.stop)
            async for records in arriving:
                yield [
                    await _read_input(record, store) if record.partition.topic in inputs else await read_result(record)
                    for record in records
                ]

    async def fetch_group(self) -> GroupState:
        """Return the members and the offsets of the group of the settings."""
        connection, offsets = build_connection(self._settings), list[PartitionOffsets]()
        for topic in self._settings.input_topics:
            group, found = await fetch_group_offsets(connection, topic, self._settings.group_id)
            offsets += [
                PartitionOffsets(topic, own.partition.index, own.start, own.ends.end, None if own.owner is None else str(own.owner))
                for own in found
            ]
        return GroupState(tuple(map(str, group.members)), tuple(offsets))


class WorkerLetters:
    """Lists and replays the dead letters of a worker with these settings."""

    def __init__(self, settings: Settings) -> None:
        """Read with the connection of the settings."""
        self._settings = settings

    async def list_open(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the oldest dead letters that were neither replayed nor dropped, and whether these are all."""
        letters, _ = await dlq.list_letters(self._settings, DeadLetterFilter(), includes_done=False, max_letters=_MAX_LETTERS + 1)
        return [dlq_view.plain(letter) | dlq_view.preview(letter) for letter in letters[:_MAX_LETTERS]], len(
            letters
        ) <= _MAX_LETTERS

    async def replay(self, names: Sequence[str]) -> str:
        """Send the records of these dead letters again, each to its input topic."""
        selection, topics = DeadLetterFilter(names=frozenset(names)), self._settings.input_topics
        counts = await dlq.handle_letters(self._settings, selection, topics=topics, is_dry=False)
        counts.num_not_selected = 0
        return f"{counts.num_done} replayed into {' and '.join(topics)}{counts}"


async def _read_input(record: Record, store: SchemaStore | None) -> Record:
    """Return an input record with a registered value as plain JSON; other records, and values that cannot be read, unchanged."""
    if store is not None and record.value is not None and read_schema_id(record.value) is not None:
        form = await store.load_now([record])
        with contextlib.suppress(InvalidRecord, ValueError):
            return replace(record, value=read_json_value(record.value, form))
    return record


def build_token_reader(reference: str) -> Callable[[str], list[str]] | None:
    """Return the function that splits a text into the tokens of a model; None if the model is not on this machine."""
    from worker.model.checkpoint.checkpoint import build_encoder  # noqa: PLC0415  only typed texts need the tokenizer
    from worker.model.checkpoint.references import find_local  # noqa: PLC0415  the same
    from worker.model.checkpoint.tokenizer_files import build_tokenizer  # noqa: PLC0415  the same
    from worker.model.pooling.pooling import PoolingConfig  # noqa: PLC0415  the same

    try:
        if find_local(reference) is None:
            return None
        directory = build_encoder(reference).directory
        tokenizer = build_tokenizer(directory, is_lowercased=PoolingConfig.read(directory).do_lower_case)
    except BadModel:
        return None
    return lambda text: list(tokenizer.encode(text).tokens)

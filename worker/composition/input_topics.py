"""Finds the input topics of a pattern in the cluster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.composition.broker import build_connection, map_routes
from worker.errors import TopicsMissing

if TYPE_CHECKING:
    from collections.abc import Collection

    from worker.records import Task
    from worker.settings import Settings

# The topics of Kafka itself, such as __consumer_offsets.
_INTERNAL_PREFIX = "__"


async def resolve_pattern(settings: Settings) -> Settings:
    """Return the settings with the topics that match `GIST_INPUT_TOPIC_PATTERN` now; without a pattern, the same settings.

    Raises `TopicsMissing` if no topic matches, and `BrokerUnavailable`.
    """
    from worker.broker.admin.topics import list_topics  # noqa: PLC0415

    if not settings.input_topic_pattern:
        return settings
    found = select_input_topics(settings, await list_topics(build_connection(settings)))
    if not found:
        raise TopicsMissing(f"GIST_INPUT_TOPIC_PATTERN: no topic that the worker may see matches {settings.input_topic_pattern}")
    return settings.model_copy(update={"input_topic": ",".join(found)})


async def find_new_topics(settings: Settings, served: Settings, tasks: Collection[Task]) -> Settings:
    """Return the settings with the topics to serve: those that match now, without new topics whose output topics are missing.

    `settings` have the pattern, `served` the topics that are served now, with `tasks`. Raises `TopicsMissing` and
    `BrokerUnavailable`.
    """
    from worker.broker.admin.topics import list_topics  # noqa: PLC0415

    found, existing = await resolve_pattern(settings), set(await list_topics(build_connection(settings)))
    routes = map_routes(found, tasks)
    ready = [
        topic
        for topic in found.live_topics
        if topic in served.live_topics or settings.create_topics or existing.issuperset(routes[topic].values())
    ]
    return found.model_copy(update={"input_topic": ",".join(ready)}) if ready else served


def select_input_topics(settings: Settings, names: Collection[str]) -> list[str]:
    """Return the names that match the pattern, in order, without the output topics of matching topics. Pure."""
    pattern = re.compile(settings.input_topic_pattern)
    matching = {name for name in names if pattern.fullmatch(name) and not name.startswith(_INTERNAL_PREFIX)}
    outputs = {output for name in matching for output in settings.name_output_topics(name).values()}
    return sorted(matching - outputs - {settings.backfill_topic})

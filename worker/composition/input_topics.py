"""Finds the input topics of a pattern in the cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.composition.broker import build_connection, map_routes
from worker.errors import TopicsMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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


@dataclass(slots=True, kw_only=True)
class TopicFinder:
    """Finds the topics to read, at the start and while the worker runs."""

    settings: Settings
    tasks: frozenset[Task]
    #: Called with a line for each topic that matches the pattern and is not read.
    warn: Callable[[str], None]
    #: The matching topics whose output topics are missing.
    waiting: set[str] = field(default_factory=set)
    #: The topics that began to match the pattern after the first search.
    new: set[str] = field(default_factory=set)
    # The topics that matched at the last search; None before the first one.
    _matching: set[str] | None = None

    async def find(self, served: Settings | None = None) -> Settings:
        """Return the settings with the topics to read: of a pattern those that match now and have their output topics.

        `served` are the settings with the topics that are read now, which stay. Raises `TopicsMissing` if there is no topic to
        read, and `BrokerUnavailable`.
        """
        from worker.broker.admin.topics import list_topics  # noqa: PLC0415

        if not self.settings.input_topic_pattern:
            return self.settings
        found = await resolve_pattern(self.settings)
        matching, before = set(found.live_topics), self._matching
        self.new |= set() if before is None else matching - before
        self._matching = matching
        existing, routes = set(await list_topics(build_connection(self.settings))), map_routes(found, self.tasks)
        known = served.live_topics if served else ()
        waiting = {topic for topic in found.live_topics if topic not in known and not existing.issuperset(routes[topic].values())}
        waiting = set() if self.settings.create_topics else waiting
        for topic in sorted(waiting - self.waiting):
            self.warn(
                f"the topic {topic} matches GIST_INPUT_TOPIC_PATTERN and is read once its output topics exist: "
                "create them with `gist-stream topics --create`, or set GIST_CREATE_TOPICS=true"
            )
        self.waiting = waiting
        if ready := [topic for topic in found.live_topics if topic not in waiting]:
            return found.model_copy(update={"input_topic": ",".join(ready)})
        if served:
            return served
        raise TopicsMissing(
            f"GIST_INPUT_TOPIC_PATTERN: no topic that matches {self.settings.input_topic_pattern} has its output topics: create "
            "them with `gist-stream topics --create`, or set GIST_CREATE_TOPICS=true"
        )


def select_input_topics(settings: Settings, names: Collection[str]) -> list[str]:
    """Return the names that match the pattern, in order, without the output topics of matching topics. Pure."""
    pattern = re.compile(settings.input_topic_pattern)
    matching = {name for name in names if pattern.fullmatch(name) and not name.startswith(_INTERNAL_PREFIX)}
    outputs = {output for name in matching for output in settings.name_output_topics(name).values()}
    return sorted(matching - outputs - {settings.backfill_topic})

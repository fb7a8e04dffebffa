"""Topics of a pattern: those with output topics are read, and the others are named once."""

from __future__ import annotations

import pytest

from worker.composition.input_topics import TopicFinder
from worker.errors import TopicsMissing
from worker.records import Task
from worker.settings.settings import read


def build_finder(monkeypatch: pytest.MonkeyPatch, names: list[str], **settings: object) -> tuple[TopicFinder, list[str]]:
    """Return a finder for `a.*` in a cluster with the topics `names`, and its warnings."""

    async def list_topics(_connection: object) -> list[str]:
        return names

    monkeypatch.setattr("worker.broker.admin.topics.list_topics", list_topics)
    warnings: list[str] = []
    chosen = read({"input_topic_pattern": "a.", "group_id": "g", **settings})
    return TopicFinder(settings=chosen, tasks=frozenset({Task.EMBED}), warn=warnings.append), warnings


async def test_a_topic_without_output_topics_waits_until_they_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start and while the worker runs the topic is left out, with one warning."""
    names = ["a1", "a1.embeddings", "a1.dlq", "a2"]
    finder, warnings = build_finder(monkeypatch, names)
    served = await finder.find()
    assert served.live_topics == ("a1",)
    assert (await finder.find(served)).live_topics == ("a1",)
    assert len(warnings) == 1
    assert warnings[0].startswith("the topic a2 matches GIST_INPUT_TOPIC_PATTERN and is read once its output topics exist")
    names += ["a2.embeddings", "a2.dlq", "a3"]
    assert (await finder.find(served)).live_topics == ("a1", "a2")
    assert finder.new == {"a3"}


async def test_a_topic_that_is_read_stays_and_a_start_without_topics_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that creates output topics needs none of them."""
    finder, _ = build_finder(monkeypatch, ["a1"])
    with pytest.raises(TopicsMissing, match=r"no topic that matches a\. has its output topics: create them"):
        await finder.find()
    creating, warnings = build_finder(monkeypatch, ["a1", "a2"], create_topics=True)
    served = await creating.find()
    assert (served.live_topics, warnings) == (("a1", "a2"), [])
    kept, _ = build_finder(monkeypatch, ["a1", "a2"])
    assert (await kept.find(served)).live_topics == ("a1", "a2")

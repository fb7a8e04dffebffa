"""The records that the console reads from the topics of a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.fake_registry import FakeRegistry
from worker.commands.console import sources
from worker.commands.console.sources import WorkerTopics
from worker.errors import BrokerUnavailable
from worker.records import Partition, Record
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PLAIN = b'{"text":"hello"}'


async def read_first(
    monkeypatch: pytest.MonkeyPatch, values: list[bytes | None], topic: str = "texts", **settings: Any
) -> list[bytes | None]:
    """Return the values that the console gets for values of a topic."""

    async def follow(*_arguments: object, **_options: object) -> AsyncGenerator[list[Record], None]:
        yield [Record(Partition(topic, 0), offset, None, value) for offset, value in enumerate(values)]

    monkeypatch.setattr(sources, "follow_newest", follow)
    arriving = WorkerTopics(read(settings)).follow()
    records = await anext(arriving)
    await arriving.aclose()
    return [record.value for record in records]


async def test_registered_values_are_plain_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of a schema registry is decoded; plain values, tombstones and values that cannot be read stay as they are."""
    async with FakeRegistry() as registry:
        prefix = b"\x00" + registry.add({"type": "object"}, kind="JSON").to_bytes(4, "big")
        values: list[bytes | None] = [prefix + PLAIN, PLAIN, None, prefix + b"{oops"]
        read_values = await read_first(monkeypatch, values, schema_registry_url=registry.url)
        assert read_values == [PLAIN, PLAIN, None, prefix + b"{oops"]
        registry.fault = 500
        with pytest.raises(BrokerUnavailable, match="GIST_SCHEMA_REGISTRY_URL"):
            await read_first(monkeypatch, [prefix + PLAIN], schema_registry_url=registry.url)


async def test_results_of_kafka_connect_are_plain_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schema around a result is left out."""
    values: list[bytes | None] = [b'{"schema":{},"payload":{"id":"a"}}']
    read_values = await read_first(monkeypatch, values, topic="texts.labels", output_format="connect_json")
    assert read_values == [b'{"id":"a"}']

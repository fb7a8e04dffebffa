"""The loaded schemas: one request for many records, retries while the registry is away, bounds, and unknown ids."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.registry.fake_registry import FakeRegistry
from tests.wire.registered.test_avro import write
from worker.errors import BadSettings, BrokerUnavailable, InvalidRecord, RegistryUnavailable
from worker.records import Partition, Record
from worker.registry import store as stores
from worker.registry.client import RegistryAccess, RegistryClient
from worker.registry.store import SchemaStore
from worker.wire.registered.frame import build_prefix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Failures:
    """The failures that a store notes."""

    def __init__(self) -> None:
        self.noted: list[Exception] = []
        self.changed = asyncio.Event()

    def note(self, error: Exception) -> None:
        """Note a failure."""
        self.noted.append(error)
        self.changed.set()

    async def wait_for(self, number: int) -> None:
        """Return when this number of failures is noted."""
        while len(self.noted) < number:
            self.changed.clear()
            await self.changed.wait()


@contextlib.asynccontextmanager
async def store(
    registry: FakeRegistry, failures: Failures | None = None, *, reads_keys: bool = False
) -> AsyncIterator[SchemaStore]:
    """Give a store that repeats requests without a delay."""
    note_retry = (failures or Failures()).note
    client = RegistryClient(RegistryAccess(urls=(registry.url,)))
    made = SchemaStore(client, reads_keys=reads_keys, delay_s=lambda _failures: 0.001, note_retry=note_retry)
    try:
        yield made
    finally:
        await made.stop()


def made(schema_id: int, *, key: bytes | None = None) -> Record:
    """Return a record whose schema has this id."""
    return Record(Partition("t", 0), 0, key, build_prefix(schema_id) + b"x")


async def test_records_share_one_request_and_later_records_need_none() -> None:
    """A schema is fetched once."""
    async with FakeRegistry() as registry, store(registry) as loaded:
        number = registry.add('"string"')
        record = Record(Partition("t", 0), 0, None, build_prefix(number) + write("string", "text")[5:])
        assert not loaded.has_schemas(record)
        await asyncio.gather(*(loaded.load(record) for _ in range(20)))
        assert loaded.has_schemas(record)
        assert registry.asked == [f"/schemas/ids/{number}"]
        assert loaded.form.read_content(record.value or b"", {}) == ("text", None)
        assert loaded.has_schemas(Record(Partition("t", 0), 0, None, b'{"text": "a"}'))


async def test_records_wait_while_the_registry_is_away() -> None:
    """Each failure is noted, the reason is shown, and the record is read in the end."""
    failures = Failures()
    async with FakeRegistry() as registry, store(registry, failures) as loaded:
        number, registry.fault = registry.add('"string"'), 503
        waiting = asyncio.create_task(loaded.load(made(number)))
        await failures.wait_for(3)
        assert "HTTP 503" in (loaded.problem or "")
        assert not waiting.done()
        registry.fault = None
        await waiting
        assert loaded.problem is None
        assert all(isinstance(error, RegistryUnavailable) for error in failures.noted)


async def test_an_unknown_id_is_a_dead_letter_and_is_asked_for_again_later() -> None:
    """A schema that was registered meanwhile is found after a while."""
    async with FakeRegistry() as registry, store(registry) as loaded:
        await loaded.load(made(1))
        with pytest.raises(InvalidRecord, match="the value of schema 1: the schema registry has no schema with this id"):
            loaded.form.read_content(made(1).value or b"", {})
        assert loaded.has_schemas(made(1))
        assert len(registry.asked) == 1
        registry.add('"bytes"')
        # The time has passed.
        loaded._ask_again_s[1] = 0.0
        assert not loaded.has_schemas(made(1))
        await loaded.load(made(1))
        with pytest.raises(InvalidRecord, match="does not fit the Avro schema 1: "):
            loaded.form.read_content(made(1).value or b"", {})


async def test_the_oldest_schema_is_unloaded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of schemas is bounded; an unloaded one is loaded again."""
    monkeypatch.setattr(stores, "_MAX_SCHEMAS", 2)
    async with FakeRegistry() as registry, store(registry) as loaded:
        for name in ("int", "long", "string"):
            await loaded.load(made(registry.add(f'"{name}"')))
        assert [loaded.has_schemas(made(number)) for number in (1, 2, 3)] == [False, True, True]
        await loaded.load(made(1))
        assert loaded.has_schemas(made(1))


async def test_small_protobuf_schemas_count_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has 200 KB of well-known types; 4,096 of them would take most of a gigabyte."""
    monkeypatch.setattr(stores, "_MAX_CHARS", 50_000)
    async with FakeRegistry() as registry, store(registry) as loaded:
        for number in range(3):
            await loaded.load(made(registry.add(f'syntax = "proto3"; message A{number} {{}}', kind="PROTOBUF")))
        assert [loaded.has_schemas(made(number)) for number in (1, 2, 3)] == [False, True, True]


async def test_the_schema_of_a_key_is_loaded_if_the_key_has_the_id() -> None:
    """Else it costs no request."""
    async with FakeRegistry() as registry:
        value, key = registry.add('"string"'), registry.add('"long"')
        async with store(registry) as without:
            await without.load(made(value, key=build_prefix(key) + b"\x02"))
        async with store(registry, reads_keys=True) as loaded:
            await loaded.load(made(value, key=build_prefix(key) + b"\x02"))
            assert loaded.form.read_key_id(build_prefix(key) + b"\x02") == "1"
        assert registry.asked == ["/schemas/ids/1", "/schemas/ids/1", "/schemas/ids/2"]


async def test_a_schema_that_is_refused_is_a_dead_letter() -> None:
    """The reason is that of the schema."""
    async with FakeRegistry() as registry, store(registry) as loaded:
        await loaded.load(made(registry.add({"type": "array", "items": "null"})))
        with pytest.raises(InvalidRecord, match="the value of schema 1: its schema is not read: it has values without bytes"):
            loaded.form.read_content(made(1).value or b"", {})


async def test_a_command_does_not_wait() -> None:
    """A registry that is away ends it with one line."""
    async with FakeRegistry() as registry, store(registry) as loaded:
        registry.fault = 500
        with pytest.raises(BrokerUnavailable, match=r"GIST_SCHEMA_REGISTRY_URL: .*HTTP 500"):
            await loaded.load_now([made(1)])


async def test_a_refusal_at_the_start_ends_the_worker() -> None:
    """Wrong credentials do not become right by waiting; a registry that is away does."""
    failures = Failures()
    async with FakeRegistry() as registry, store(registry, failures) as loaded:
        registry.fault = 503
        starting = asyncio.create_task(loaded.retry(loaded.client.check))
        await failures.wait_for(1)
        registry.fault = 401
        with pytest.raises(BadSettings, match="refuses the credentials"):
            await starting


async def test_the_end_of_the_worker_does_not_wait_for_the_registry() -> None:
    """The requests in progress are cancelled."""
    async with FakeRegistry() as registry, store(registry) as loaded:
        registry.released.clear()
        waiting = asyncio.create_task(loaded.load(made(1)))
        await registry.arrived.wait()
        waiting.cancel()
        await loaded.stop()
        assert loaded.problem is None

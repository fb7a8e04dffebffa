"""The schemas of the results at the start of a worker, and the check of a registry."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from tests.makers import PARTITION
from tests.registry.fake_registry import FakeRegistry
from tests.wire.registered.test_avro import record as avro_record
from worker.composition.registry import build_store, describe_registry, load_form, open_result_reader, prepare_results
from worker.errors import BadSettings
from worker.records import Output, Record, Task
from worker.settings import Settings, read

EMBED = {Task.EMBED}
VALUE = {"id": "a", "embedding": [0.5], "dim": 1, "encoding": "float"}


def make_settings(registry: FakeRegistry, **more: Any) -> Settings:
    """Return the settings of a worker with this registry."""
    return read({"schema_registry_url": registry.url, "input_topic": PARTITION.topic, "output_format": "avro", **more})


async def prepare(settings: Settings) -> Any:
    """Prepare the results as a worker does."""
    store = build_store(settings)
    assert store is not None
    try:
        return await prepare_results(settings, store, EMBED, asyncio.Event())
    finally:
        await store.stop()


async def test_schemas_are_registered_at_the_start_and_results_are_read_by_their_id() -> None:
    """A second worker that only looks up uses the same id; `tail` shows plain JSON."""
    source = Record(PARTITION, 0, None, None)
    async with FakeRegistry() as registry:
        settings = make_settings(registry)
        value = (await prepare(settings))(Output.EMBEDDINGS, source, VALUE)
        assert list(registry.subjects) == ["texts.embeddings-value"]
        only_looks_up = await prepare(make_settings(registry, schema_registry_auto_register=False))
        assert only_looks_up(Output.EMBEDDINGS, source, VALUE) == value
        async with open_result_reader(settings) as plain:
            assert orjson.loads((await plain(Record(PARTITION, 0, None, value))).value or b"") == VALUE
            assert (await plain(Record(PARTITION, 0, None, b"not JSON"))).value == b"not JSON"


async def test_a_schema_that_is_only_looked_up_must_be_there() -> None:
    """The line names the subject and the setting."""
    async with FakeRegistry() as registry:
        settings = make_settings(registry, schema_registry_auto_register=False, schema_registry_subject_name_strategy="record")
        with pytest.raises(BadSettings, match=r"the subject gist_stream\.v1\.Embedding does not have the schema of this worker"):
            await prepare(settings)
        with pytest.raises(BadSettings, match="1 schemas of results are not registered"):
            await describe_registry(settings, EMBED, print)


async def test_a_worker_that_is_stopped_does_not_wait_for_the_registry() -> None:
    """The start ends without a serializer."""
    async with FakeRegistry() as registry:
        registry.released.clear()
        settings, stopping = make_settings(registry), asyncio.Event()
        store = build_store(settings)
        starting = asyncio.create_task(prepare_results(settings, store, EMBED, stopping))
        await registry.arrived.wait()
        stopping.set()
        assert await starting is None
        assert store is not None
        await store.stop()


async def test_wrong_credentials_end_the_start_also_without_results_in_the_registry() -> None:
    """Also a worker that writes plain JSON reads with the registry."""
    async with FakeRegistry(authorization="Basic YTpi") as registry:
        plain: dict[str, Any] = {"output_format": "json", "allow_plaintext_password": True}
        with pytest.raises(BadSettings, match=r"GIST_SCHEMA_REGISTRY_URL: .* refuses the credentials: HTTP 401"):
            await prepare(make_settings(registry, **plain))
        assert await prepare(make_settings(registry, **plain, schema_registry_basic_auth_user_info="a:b")) is not None
        registry.fault = 503
        # A registry that is away is asked again for the first schema.
        assert await prepare(make_settings(registry, **plain, schema_registry_basic_auth_user_info="a:b")) is not None


async def test_the_check_warns_of_a_schema_without_the_text() -> None:
    """The line has the topic and the fields of its latest schema."""
    warnings: list[str] = []
    async with FakeRegistry() as registry:
        settings = make_settings(registry, text_field="body")
        assert await describe_registry(settings, EMBED, warnings.append) == (
            f"{registry.url} answers; 1 schemas are registered at the start"
        )
        registry.add(avro_record("Ticket", title="string"), subject="texts-value")
        await describe_registry(settings, EMBED, warnings.append)
        registry.fault = 500
        with pytest.raises(BadSettings, match=r"GIST_SCHEMA_REGISTRY_URL: .*HTTP 500"):
            await describe_registry(settings, EMBED, warnings.append)
    assert warnings == ["texts: its latest schema has no field body; its fields are: title"]


async def test_without_a_registry_nothing_is_loaded() -> None:
    """Records are read as the wire contract says."""
    assert await load_form(read({}), [Record(PARTITION, 0, None, b"\x00\x00\x00\x00\x01a")]) is None


async def test_the_json_of_connect_needs_no_registry() -> None:
    """The value has its schema."""
    settings = read({"input_topic": PARTITION.topic, "output_format": "connect_json"})
    serialize = await prepare_results(settings, None, EMBED, asyncio.Event())
    assert serialize is not None
    value = orjson.loads(serialize(Output.EMBEDDINGS, Record(PARTITION, 0, None, None), VALUE))
    assert (value["schema"]["type"], value["payload"]) == ("struct", VALUE)
    async with open_result_reader(settings) as plain:
        assert orjson.loads((await plain(Record(PARTITION, 0, None, orjson.dumps(value)))).value or b"") == VALUE

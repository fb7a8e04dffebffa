"""Builds the client of the schema registry, and the format of the results."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from worker.composition.broker import map_routes
from worker.errors import BadSettings, InvalidRecord, RegistryUnavailable
from worker.flow.session import Backoff
from worker.records import Output
from worker.wire.content import WireForm
from worker.wire.fields.paths import FieldPath
from worker.wire.formats import (
    OutputFormat,
    build_connect_serializer,
    build_registered_serializer,
    build_result_schema,
    dump_json,
    name_subject,
)
from worker.wire.registered.frame import InvalidSchema

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable

    from worker.records import Record, Task
    from worker.registry.client import RegistryClient
    from worker.registry.store import SchemaStore
    from worker.settings import Settings
    from worker.wire.content import RecordForm
    from worker.wire.formats import Serialize
    from worker.wire.registered.frame import RegisteredSchema


def build_client(settings: Settings) -> RegistryClient | None:
    """Return the client of the schema registry; None without `GIST_SCHEMA_REGISTRY_URL`. Raises `BadSettings`."""
    if not settings.schema_registry_url:
        return None
    from worker.registry.client import RegistryAccess, RegistryClient  # noqa: PLC0415  most workers need no registry

    if find_spec("fastavro") is None:
        raise BadSettings("GIST_SCHEMA_REGISTRY_URL needs the package for Avro: pip install 'gist-stream[avro]'")
    basic, bearer = settings.schema_registry_basic_auth_user_info, settings.schema_registry_bearer_auth_token
    authorization = None
    if basic is not None:
        authorization = "Basic " + base64.b64encode(basic.get_secret_value().encode()).decode()
    elif bearer is not None:
        authorization = f"Bearer {bearer.get_secret_value()}"
    urls = tuple(settings.schema_registry_url.split(","))
    return RegistryClient(RegistryAccess(urls=urls, authorization=authorization, ssl_context=_build_ssl_context(settings)))


def build_store(settings: Settings, *, note_retry: Callable[[Exception], None] = lambda _error: None) -> SchemaStore | None:
    """Return the store of schemas; None without a schema registry. `note_retry` gets each failure of the registry."""
    client = build_client(settings)
    if client is None:
        return None
    from worker.registry.store import SchemaStore  # noqa: PLC0415  most workers need no registry

    backoff = Backoff(max_s=settings.retry_backoff_max_ms / 1000)
    return SchemaStore(client, reads_keys=settings.id_from == "key", delay_s=backoff.delay_s, note_retry=note_retry)


async def load_form(settings: Settings, records: Iterable[Record]) -> RecordForm | None:
    """Return the form of records, with their schemas loaded; None without a registry. Raises `BrokerUnavailable`."""
    store = build_store(settings)
    if store is None:
        return None
    try:
        return await store.load_now(records)
    finally:
        await store.stop()


@contextlib.asynccontextmanager
async def open_result_reader(settings: Settings) -> AsyncIterator[Callable[[Record], Awaitable[Record]]]:
    """Provide the function that returns a result with its value as plain JSON; it raises `BrokerUnavailable`.

    A value that is not in the format of the settings is returned unchanged.
    """
    from worker.wire.result_values import read_json_value  # noqa: PLC0415  a worker writes results, and reads none

    store = build_store(settings)

    async def read(record: Record) -> Record:
        if record.value is None or settings.output_format == "json":
            return record
        form = await store.load_now([record]) if store else WireForm()
        with contextlib.suppress(InvalidRecord, ValueError):
            return replace(record, value=read_json_value(record.value, form))
        return record

    try:
        yield read
    finally:
        if store is not None:
            await store.stop()


async def prepare_results(
    settings: Settings, store: SchemaStore | None, tasks: Collection[Task], stopping: asyncio.Event
) -> Serialize | None:
    """Return the function that serializes results, with their schemas registered or looked up; None if `stopping` is set before.

    Waits for a registry that is away. Raises `BadSettings` if the registry refuses the worker or a schema.
    """
    output_format = OutputFormat(settings.output_format)
    if store is None or not output_format.is_registered:
        await _greet(store)
        return build_serializer(settings)
    client, schemas = store.client, _build_schemas(settings, tasks)

    async def register() -> dict[tuple[str, Output], int]:
        routes = map_routes(settings, tasks)
        return {
            (topic, output): await find_or_register(settings, client, name, output, schemas[output])
            for topic, route in routes.items()
            for output, name in route.items()
            if output in schemas
        }

    registering, stopped = asyncio.create_task(store.retry(register)), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({registering, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return build_registered_serializer(output_format, schemas, registering.result()) if registering.done() else None
    finally:
        registering.cancel()
        stopped.cancel()


def build_serializer(settings: Settings) -> Serialize:
    """Return the function that serializes results in a format without a registry; of another format, as JSON."""
    if settings.output_format == "connect_json":
        return build_connect_serializer(has_numbers=settings.embedding_encoding == "float")
    return dump_json


async def find_or_register(settings: Settings, client: RegistryClient, topic: str, output: Output, schema: RegisteredSchema) -> int:
    """Return the id of the schema of an output topic. Raises `BadSettings` and `RegistryUnavailable`."""
    subject = name_subject(settings.schema_registry_subject_name_strategy, topic, output)
    if settings.schema_registry_auto_register:
        return await client.register(subject, schema)
    found = await client.find_id(subject, schema)
    if found is None:
        raise BadSettings(
            f"the subject {subject} does not have the schema of this worker: register it, or set GIST_SCHEMA_REGISTRY_AUTO_REGISTER"
        )
    return found


async def describe_registry(settings: Settings, tasks: Collection[Task], warn: Callable[[str], None]) -> str:
    """Return a line about the registry. Raises `BadSettings`; `warn` gets a line about a schema that the worker cannot use."""
    client = build_client(settings)
    if client is None:
        return "none"
    output_format = OutputFormat(settings.output_format)
    schemas = _build_schemas(settings, tasks) if output_format.is_registered else {}
    try:
        await client.check()
        num_missing = 0
        for route in map_routes(settings, tasks).values():
            for output, name in route.items():
                if output in schemas:
                    subject = name_subject(settings.schema_registry_subject_name_strategy, name, output)
                    num_missing += await client.find_id(subject, schemas[output]) is None
        for topic in settings.input_topics:
            await _check_input(settings, client, topic, warn)
    except RegistryUnavailable as error:
        raise BadSettings(f"GIST_SCHEMA_REGISTRY_URL: {error}") from error
    finally:
        await client.close()
    if num_missing and not settings.schema_registry_auto_register:
        raise BadSettings(f"{num_missing} schemas of results are not registered: set GIST_SCHEMA_REGISTRY_AUTO_REGISTER once")
    return f"{settings.schema_registry_url} answers" + (
        f"; {num_missing} schemas are registered at the start" if num_missing else ""
    )


async def _check_input(settings: Settings, client: RegistryClient, topic: str, warn: Callable[[str], None]) -> None:
    """Warn if the latest schema of an input topic is not read, or lacks the text."""
    from worker.wire.registered.inspection import find_fault  # noqa: PLC0415  only `check` looks into schemas

    try:
        schema = await client.fetch_latest(f"{topic}-value")
    except InvalidSchema as error:
        warn(f"{topic}: its latest schema is not read: {error}")
        return
    path = () if settings.text_template else FieldPath.parse(settings.text_field).names
    if schema is not None and (fault := find_fault(schema, path)):
        warn(f"{topic}: {fault}")


async def _greet(store: SchemaStore | None) -> None:
    """Ask the registry once, so that wrong credentials end the start. Records wait for a registry that is away."""
    if store is None:
        return
    try:
        await store.client.check()
    except RegistryUnavailable as error:
        if error.is_refusal:
            raise BadSettings(f"GIST_SCHEMA_REGISTRY_URL: {error}") from error
        store.note_retry(error)


def _build_schemas(settings: Settings, tasks: Collection[Task]) -> dict[Output, RegisteredSchema]:
    outputs = {output for route in map_routes(settings, tasks).values() for output in route} - {Output.DEAD_LETTERS}
    output_format, has_numbers = OutputFormat(settings.output_format), settings.embedding_encoding == "float"
    return {
        output: build_result_schema(output, output_format, has_numbers=has_numbers, result_field=settings.result_field)
        for output in outputs
    }


def _build_ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the context of the TLS files of the registry; None without one."""
    from worker.broker.connection.certificates import build_ssl_context, load_identity  # noqa: PLC0415  a slow import

    ca_file, cert_file, key_file = (
        str(path) if path else None
        for path in (
            settings.schema_registry_ssl_ca_file,
            settings.schema_registry_ssl_cert_file,
            settings.schema_registry_ssl_key_file,
        )
    )
    if not ca_file and not cert_file:
        return None
    context = build_ssl_context(ca_file, setting="GIST_SCHEMA_REGISTRY_SSL_CA_FILE")
    if cert_file:
        password = settings.schema_registry_ssl_key_password
        secret = password.get_secret_value() if password else None
        load_identity(context, cert_file, key_file, secret, prefix="GIST_SCHEMA_REGISTRY_SSL")
    return context

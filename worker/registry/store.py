"""The schemas that a worker has loaded. A registry that is away delays the records that need another schema; none is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from worker.errors import BadSettings, BrokerUnavailable, RegistryUnavailable
from worker.wire.registered.content import RegisteredForm, build_refusal, build_value_reader
from worker.wire.registered.frame import InvalidSchema, read_schema_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from worker.records import Record
    from worker.registry.client import RegistryClient
    from worker.wire.registered.frame import ValueReader

_Answer = TypeVar("_Answer")
# The bounds of the loaded schemas. The oldest one is unloaded first. A schema takes ten times the bytes of its text.
_MAX_SCHEMAS, _MAX_CHARS = 4_096, 16 * 2**20
# The bytes of the well-known types that each Protobuf schema has, as characters of a text.
_EXTRA_CHARS = {"PROTOBUF": 20_000}
# A registry is asked again for an id that it did not have after this time.
_UNKNOWN_FOR_S = 60.0


class SchemaStore:
    """Loads the schemas of records. Implements `worker.ports.Schemas`. Use the object in one event loop."""

    def __init__(
        self,
        client: RegistryClient,
        *,
        reads_keys: bool,
        delay_s: Callable[[int], float],
        note_retry: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """Set the client; `delay_s` returns the delay after a number of failures, and `note_retry` gets each failure."""
        self.client = client
        self._reads_keys = reads_keys
        self._delay_s = delay_s
        self.note_retry = note_retry
        # The readers of the loaded schemas and the sizes of their texts, the oldest first.
        self._readers: dict[int, ValueReader] = {}
        self._num_chars: dict[int, int] = {}
        # When to ask again for unknown ids, in seconds of the loop's time.
        self._ask_again_s: dict[int, float] = {}
        # The requests in progress, by id.
        self._loading: dict[int, asyncio.Task[None]] = {}
        # The number of records, or starts, that wait for each failure.
        self._problems: dict[object, str] = {}

    @property
    def problem(self) -> str | None:
        """The reason why records wait for the registry; None if none does."""
        return next(iter(self._problems.values()), None)

    @property
    def form(self) -> RegisteredForm:
        """The form of records that are read with the loaded schemas. Reading is safe in any thread."""
        return RegisteredForm(self._readers.get)

    def has_schemas(self, record: Record) -> bool:
        """Return whether the schemas of a record are loaded."""
        return all(self._is_loaded(schema_id) for schema_id in self._list_ids(record))

    async def load(self, record: Record) -> None:
        """Load the schemas of a record; wait for the registry as long as that takes."""
        # A schema may be unloaded while the next one is loaded.
        while missing := [schema_id for schema_id in self._list_ids(record) if not self._is_loaded(schema_id)]:
            for schema_id in missing:
                await self._load_once(schema_id)

    async def load_now(self, records: Iterable[Record]) -> RegisteredForm:
        """Load the schemas of records and return their form. Raises `BrokerUnavailable` if the registry does not answer."""
        try:
            for record in records:
                for schema_id in self._list_ids(record):
                    if not self._is_loaded(schema_id):
                        self._keep(schema_id, *await self._fetch(schema_id))
        except RegistryUnavailable as error:
            raise BrokerUnavailable(f"GIST_SCHEMA_REGISTRY_URL: {error}") from error
        return self.form

    async def retry(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Return the result of a request; repeat the request while the registry is away. Raises `BadSettings` if it refuses."""
        num_failures = 0
        try:
            while True:
                try:
                    return await request()
                except RegistryUnavailable as error:
                    if error.is_refusal:
                        raise BadSettings(f"GIST_SCHEMA_REGISTRY_URL: {error}") from error
                    num_failures += 1
                    self._problems[request] = str(error)
                    self.note_retry(error)
                    await asyncio.sleep(self._delay_s(num_failures))
        finally:
            self._problems.pop(request, None)

    async def stop(self) -> None:
        """End the requests and close the connections."""
        loading = list(self._loading.values())
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        await self.client.close()

    def _list_ids(self, record: Record) -> list[int]:
        parts = (record.value, record.key) if self._reads_keys else (record.value,)
        return [schema_id for part in parts if (schema_id := read_schema_id(part)) is not None]

    def _is_loaded(self, schema_id: int) -> bool:
        if schema_id not in self._readers:
            return False
        again_s = self._ask_again_s.get(schema_id)
        return again_s is None or asyncio.get_running_loop().time() < again_s

    async def _load_once(self, schema_id: int) -> None:
        """Load one schema; records that wait for the same schema share the request."""
        task = self._loading.get(schema_id)
        if task is None:
            task = self._loading[schema_id] = asyncio.create_task(self._load(schema_id))
            task.add_done_callback(lambda _task: self._loading.pop(schema_id))
        # A record that waits no longer does not end the request of the others.
        await asyncio.shield(task)

    async def _load(self, schema_id: int) -> None:
        num_failures = 0
        try:
            while True:
                try:
                    reader, num_chars = await self._fetch(schema_id)
                except RegistryUnavailable as error:
                    num_failures += 1
                    self._problems[schema_id] = str(error)
                    self.note_retry(error)
                    await asyncio.sleep(self._delay_s(num_failures))
                else:
                    self._keep(schema_id, reader, num_chars)
                    return
        finally:
            self._problems.pop(schema_id, None)

    async def _fetch(self, schema_id: int) -> tuple[ValueReader, int]:
        """Return the reader of a schema and the characters that stand for its memory. Raises `RegistryUnavailable`."""
        try:
            schema = await self.client.fetch_schema(schema_id)
        except InvalidSchema as error:
            return build_refusal(f"its schema is not read: {error}"), 0
        if schema is None:
            self._ask_again_s[schema_id] = asyncio.get_running_loop().time() + _UNKNOWN_FOR_S
            return build_refusal("the schema registry has no schema with this id"), 0
        self._ask_again_s.pop(schema_id, None)
        # The parser takes up to a second for the largest schema.
        reader = await asyncio.to_thread(build_value_reader, schema)
        return reader, len(schema.text) + sum(map(len, schema.references)) + _EXTRA_CHARS.get(schema.type, 0)

    def _keep(self, schema_id: int, reader: ValueReader, num_chars: int) -> None:
        self._readers.pop(schema_id, None)
        self._readers[schema_id], self._num_chars[schema_id] = reader, num_chars
        while len(self._readers) > _MAX_SCHEMAS or (sum(self._num_chars.values()) > _MAX_CHARS and len(self._readers) > 1):
            oldest = next(iter(self._readers))
            del self._readers[oldest], self._num_chars[oldest]
            self._ask_again_s.pop(oldest, None)

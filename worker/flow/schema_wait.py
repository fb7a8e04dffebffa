"""Records whose schemas are not loaded yet. A registry that is away delays these records, and those after them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.flow.assignment import Assignment
    from worker.ports import Schemas
    from worker.records import Record


class SchemaWait:
    """Decodes a record as soon as its schemas are loaded: at once in the usual case."""

    def __init__(self, schemas: Schemas | None, assignment: Assignment, decode: Callable[[Record], None]) -> None:
        """Without `schemas`, `decode` is called for every record at once, at no cost."""
        self._schemas = schemas
        self._assignment = assignment
        self._decode = decode
        self._waiting: asyncio.Queue[Record] = asyncio.Queue()
        #: Decodes a record, now or later.
        self.decode: Callable[[Record], None] = decode if schemas is None else self._decode_when_loaded

    async def run(self) -> None:
        """Decode the records that wait. The tokens in flight bound their number."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                tasks.create_task(self._load(await self._waiting.get()))

    def _decode_when_loaded(self, record: Record) -> None:
        if self._schemas is None or self._schemas.has_schemas(record):
            self._decode(record)
        else:
            self._waiting.put_nowait(record)

    async def _load(self, record: Record) -> None:
        if self._schemas is not None:
            await self._schemas.load(record)
        session = self._assignment.find_owner(record.partition)
        # The session may have ended meanwhile. Its records are read again.
        if session is not None and session.is_waiting_for(record):
            self._decode(record)

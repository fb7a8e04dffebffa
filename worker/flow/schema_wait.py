"""Records whose schemas are not loaded yet. A registry that is away delays these records, and those after them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.flow.assignment import Assignment
    from worker.ports import Schemas
    from worker.records import Partition, Record


class SchemaWait:
    """Decodes a record as soon as its schemas are loaded: at once in the usual case."""

    def __init__(self, schemas: Schemas | None, assignment: Assignment, decode: Callable[[Record], None]) -> None:
        """Without `schemas`, `decode` is called for every record at once, at no cost."""
        self._schemas = schemas
        self._assignment = assignment
        self._decode = decode
        self._waiting: asyncio.Queue[Record] = asyncio.Queue()
        # The tasks of the records that wait, by partition, in order.
        self._loads: dict[Partition, dict[asyncio.Task[None], Record]] = {}
        #: Decodes a record, now or later.
        self.decode: Callable[[Record], None] = decode if schemas is None else self._decode_when_loaded

    async def run(self) -> None:
        """Decode the records that wait. The tokens in flight bound their number."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                record = await self._waiting.get()
                loads = self._loads.setdefault(record.partition, {})
                # Records of a session that has ended are read again, and must not fill the memory while the registry is away.
                if loads and not self._is_awaited(next(reversed(loads.values()))):
                    for task in loads:
                        task.cancel()
                task = tasks.create_task(self._load(record))
                loads[task] = record
                task.add_done_callback(loads.pop)

    def _decode_when_loaded(self, record: Record) -> None:
        if self._schemas is None or self._schemas.has_schemas(record):
            self._decode(record)
        else:
            self._waiting.put_nowait(record)

    async def _load(self, record: Record) -> None:
        if self._schemas is not None:
            await self._schemas.load(record)
        if self._is_awaited(record):
            self._decode(record)

    def _is_awaited(self, record: Record) -> bool:
        """Return whether the session of a record waits for it. A session may end meanwhile, and its records are read again."""
        session = self._assignment.find_owner(record.partition)
        return session is not None and session.is_waiting_for(record)

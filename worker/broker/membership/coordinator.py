"""The coordinator of one group: found when needed, and searched again after a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError

from worker.broker.client_internals import drop_coordinator_connection
from worker.broker.timeouts import with_timeout

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient

    from worker.broker.message_types import FixedVersionRequest


class CoordinatorLink:
    """Sends requests to the coordinator of a group."""

    def __init__(self, client: AIOKafkaClient, group_id: str) -> None:
        """Use the connections of `client`."""
        self._client = client
        self._group_id = group_id
        # The id of the coordinator, or None if it is unknown.
        self._node_id: int | None = None

    def forget(self) -> None:
        """Search the coordinator before the next request."""
        self._node_id = None

    async def send(self, request: FixedVersionRequest, timeout_s: float) -> Any:
        """Return the response. Raises `KafkaError` and `TimeoutError`; then the coordinator is searched before the next request.

        After a timeout the next request uses a new connection, unless this request found no coordinator in time.
        """
        asked: list[int] = []
        try:
            return await with_timeout(timeout_s, self._send(request, asked))
        except KafkaError:
            self.forget()
            raise
        except TimeoutError:
            for node_id in asked:
                drop_coordinator_connection(self._client, node_id)
                self.forget()
            raise

    async def _send(self, request: FixedVersionRequest, asked: list[int]) -> Any:
        """Return the response of the coordinator, whose id is added to `asked`."""
        if self._node_id is None:
            self._node_id = await self._client.coordinator_lookup(CoordinationType.GROUP, self._group_id)
        asked.append(self._node_id)
        return await self._client.send(self._node_id, request, group=ConnectionGroup.COORDINATION)

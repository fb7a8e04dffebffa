"""Patch: an admin client asks the next broker if one is unavailable.

aiokafka: sends a request to one random broker and raises if this broker is unavailable.
Why it matters: a worker could not start and a command would fail while one of several brokers restarts.
Reference: none. The Java client chooses another node and retries until `default.api.timeout.ms`.
Needed until: `tests/broker/patches/test_admin_failover.py::test_aiokafka_asks_one_broker_only` fails.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, RequestTimedOutError

from worker.broker.timeouts import with_timeout

if TYPE_CHECKING:
    from aiokafka.client import AIOKafkaClient
    from aiokafka.protocol.api import Request, Response


class FailoverAdminClient(AIOKafkaAdminClient):  # type: ignore[misc]  # aiokafka has no types
    """Sends each request that any broker can answer to the brokers in random order, until one of them answers."""

    async def _send_request(self, request: Request, node_id: int | None = None) -> Response:
        if node_id is not None:
            return await super()._send_request(request, node_id)
        return await send_to_any_broker(self._client, request)


async def send_to_any_broker(client: AIOKafkaClient, request: object, *, timeout_s: float | None = None) -> Any:
    """Return the response of the first broker that answers, each within `timeout_s` seconds.

    Without `timeout_s` the request timeout of the client is the bound. Raises the last `KafkaError` if no broker answers.
    """
    node_ids = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(node_ids)
    failure: KafkaError = NodeNotReadyError("no broker is known")
    for node_id in node_ids:
        try:
            asking = client.send(node_id, request)
            return await (asking if timeout_s is None else with_timeout(timeout_s, asking))
        except TimeoutError as error:
            failure = RequestTimedOutError(str(error))
        except (NodeNotReadyError, KafkaConnectionError) as error:
            failure = error
    raise failure

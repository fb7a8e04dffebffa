"""The patch that raises the error of a whole OffsetFetch response. `test_consumer.py` runs it against a real broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3
from aiokafka.structs import TopicPartition

from worker.broker.patches import offset_fetch_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOADING = OffsetFetchResponse_v3(0, [], GroupLoadInProgressError.errno)


async def test_aiokafka_ignores_the_error_of_a_whole_response() -> None:
    async def send(_request: object) -> object:
        return LOADING

    coordinator: Any = SimpleNamespace(group_id="readers", _send_req=send)
    assert await GroupCoordinator._do_fetch_commit_offsets(coordinator, [TopicPartition("texts", 0)]) == {}


def respond(response: object) -> Callable[..., Awaitable[object]]:
    """Return a `send` that always has the same response."""

    async def send(*_: object, **__: object) -> object:
        return response

    return send


async def test_the_patched_client_raises_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offset_fetch_errors, "_send", respond(LOADING))
    client: Any = SimpleNamespace()
    with pytest.raises(GroupLoadInProgressError):
        await offset_fetch_errors._send_checked(client, 0, OffsetFetchRequest("readers", []))


@pytest.mark.parametrize("response", [OffsetFetchResponse_v3(0, [], 0), SimpleNamespace()])
async def test_another_response_is_returned_unchanged(monkeypatch: pytest.MonkeyPatch, response: object) -> None:
    monkeypatch.setattr(offset_fetch_errors, "_send", respond(response))
    client: Any = SimpleNamespace()
    assert await offset_fetch_errors._send_checked(client, 0, OffsetFetchRequest("readers", [])) is response
    assert await offset_fetch_errors._send_checked(client, 0, object()) is response

"""Sends the offsets of a transaction as a member of the group, where aiokafka 0.14 sends them without a member."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.protocol.transaction import TxnOffsetCommitRequest, TxnOffsetCommitRequest_v0

from worker.broker.membership.requests import build_transactional_commit
from worker.broker.timeouts import with_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka.client import AIOKafkaClient

    from worker.broker.membership.requests import MemberIdentity
    from worker.broker.message_types import FixedVersionRequest

    Send = Callable[..., Awaitable[Any]]

# The epoch is not that of the member. An answer with a new epoch may be under way.
_ILLEGAL_GENERATION = 22
_EPOCH_TIMEOUT_S = 2.0


class Member(Protocol):
    """The identity of a member of the consumer protocol."""

    @property
    def identity(self) -> MemberIdentity:
        """The id and the present epoch, which is 0 outside the group."""

    async def wait_for_epoch(self, epoch: int) -> None:
        """Return when the member has another epoch than `epoch`."""


def commit_as_member(client: AIOKafkaClient, find_member: Callable[[], Member | None]) -> None:
    """Let a producer's client name the member in each `TxnOffsetCommit`; without a member the request is not changed.

    The coordinator refuses the offsets of a partition that the group has given to another member.
    """
    send = client.send

    async def send_as_member(node_id: int, request: object, **options: Any) -> Any:
        member = find_member() if isinstance(request, TxnOffsetCommitRequest) else None
        if member is None:
            return await send(node_id, request, **options)
        offsets = request.build(TxnOffsetCommitRequest_v0)  # type: ignore[attr-defined]  # aiokafka has no types
        while True:
            identity = member.identity
            errors = await _send_offsets(send, node_id, offsets, identity, options)
            is_old = any(code == _ILLEGAL_GENERATION for _, partitions in errors for _, code in partitions)
            if not is_old or identity.epoch <= 0 or not await _has_new_epoch(member, identity.epoch):
                return SimpleNamespace(errors=errors)

    client.send = send_as_member


async def _has_new_epoch(member: Member, epoch: int) -> bool:
    try:
        await with_timeout(_EPOCH_TIMEOUT_S, member.wait_for_epoch(epoch))
    except TimeoutError:
        return False
    return member.identity.epoch > 0


async def _send_offsets(
    send: Send, node_id: int, offsets: Any, identity: MemberIdentity, options: dict[str, Any]
) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return the error codes by topic and partition, as aiokafka expects them."""
    if identity.epoch <= 0:
        # The member is outside the group, so another member may own the partitions.
        return [(topic, [(index, _ILLEGAL_GENERATION) for index, *_ in partitions]) for topic, partitions in offsets.topics]
    response = await send(node_id, _build_request(offsets, identity), **options)
    return [(topic, [(index, code) for index, code, _ in partitions]) for topic, partitions, _ in response.topics]


def _build_request(offsets: Any, identity: MemberIdentity) -> FixedVersionRequest:
    producer = (offsets.producer_id, offsets.producer_epoch)
    return build_transactional_commit(offsets.transactional_id, producer, offsets.group_id, identity, offsets.topics)

"""Commits and reads the offsets of a group as one of its members."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError, for_code

from worker.broker.commit_doubt import CommitDoubt
from worker.broker.membership import requests
from worker.broker.membership.member_state import TRANSIENT_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from aiokafka import TopicPartition
    from aiokafka.structs import OffsetAndMetadata

    from worker.broker.membership.group_member import ConsumerGroupMember
    from worker.broker.membership.requests import MemberIdentity
    from worker.broker.message_types import FixedVersionRequest

# The epoch of the member has changed, and the answer with the new epoch may be under way.
_OLD_EPOCH = frozenset({22, 113})
# The coordinator does not know yet how a transaction with an offset ended.
_UNSTABLE_OFFSET = 88
_PAUSE_S, _REQUEST_TIMEOUT_S = 0.1, 10.0


class NotAMember(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The group does not accept offsets of this worker at present."""


class MemberOffsets:
    """The offsets of the group of one member. The caller bounds the time: each method repeats what a repetition resolves."""

    def __init__(self, member: ConsumerGroupMember, group_id: str) -> None:
        """Use the coordinator, the id and the epoch of `member`."""
        self._member = member
        self._group_id = group_id
        #: Whether a commit without an answer may still arrive.
        self.doubt = CommitDoubt()

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commit the offsets of partitions that the member owns, and ignore the others. Raises `KafkaError`.

        The coordinator checks the epoch, but not whether the member owns the partitions.
        """

        def build(identity: MemberIdentity) -> FixedVersionRequest | None:
            mine = {key: offset for key, offset in offsets.items() if self._member.owns(key)}
            return requests.build_commit(self._group_id, identity, mine) if mine else None

        await self._repeat(build, requests.read_commit_codes, on_unanswered=self.doubt.note)

    async def fetch(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return the committed offsets of the partitions that have one, after the end of open transactions. Raises `KafkaError`."""
        committed: dict[TopicPartition, OffsetAndMetadata] = {}

        def read(response: object) -> set[int]:
            codes, found = requests.read_fetch(response)
            committed.update(found)
            return codes

        await self._repeat(lambda identity: requests.build_fetch(self._group_id, identity, partitions), read)
        return committed

    async def _repeat(
        self,
        build: Callable[[MemberIdentity], FixedVersionRequest | None],
        read_codes: Callable[[object], set[int]],
        *,
        on_unanswered: Callable[[], None] = lambda: None,
    ) -> None:
        """Send a request until it succeeds; `build` returns None if there is nothing to do."""
        while True:
            identity = self._member.identity
            request = build(identity)
            if request is None:
                return
            if identity.epoch <= 0:
                raise NotAMember("the worker is not a member of the group")
            try:
                codes = read_codes(await self._member.coordinator.send(request, _REQUEST_TIMEOUT_S))
            except BaseException as error:
                on_unanswered()
                if not isinstance(error, KafkaError) or not error.retriable:
                    raise
                await asyncio.sleep(_PAUSE_S)
                continue
            if not codes:
                return
            await self._recover(codes, identity.epoch)

    async def _recover(self, codes: set[int], epoch: int) -> None:
        """Wait until a repetition may succeed. Raises `KafkaError` if no repetition succeeds."""
        if codes <= _OLD_EPOCH:
            await self._member.wait_for_epoch(epoch)
        elif codes <= TRANSIENT_CODES | {_UNSTABLE_OFFSET}:
            if codes & TRANSIENT_CODES:
                self._member.coordinator.forget()
            await asyncio.sleep(_PAUSE_S)
        else:
            raise for_code(max(codes - TRANSIENT_CODES))("the group refuses the offsets of this worker")

"""The connection of one client to a proxy, and the proxy's connection to the broker."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol, TypeAlias

from tests.faults.lab.frames import Action, Answer, Request, read_frame

if TYPE_CHECKING:
    from tests.faults.lab.frames import Conditions, Rule

Stream: TypeAlias = "tuple[asyncio.StreamReader, asyncio.StreamWriter]"
Queued: TypeAlias = "asyncio.Queue[tuple[float, bytes] | None]"
# How long a broker may take to answer what was held, once the client is gone, in seconds.
_LATE_ANSWER_S = 10.0
# Frames that one direction holds back at most.
_MAX_QUEUED = 2_000


class Broken(Exception):
    """The connection must break now."""


class Network(Protocol):
    """The interface of a proxy for its links."""

    conditions: Conditions
    #: Set when the network heals, and then replaced by another.
    healed: asyncio.Event

    def passing(self, request: Request) -> Rule | None:
        """Count a request and return its fault, if it has one."""

    def applied(self, rule: Rule, **fields: object) -> None:
        """Note that a rule was applied."""


class Link:
    """Forwards frames in both directions until a side closes or the network breaks the link.

    After the client has closed, its frames are still delivered, and the link waits for the broker's answers.
    """

    def __init__(self, network: Network, client: Stream, broker: Stream) -> None:
        """Connect two open connections."""
        self._network = network
        self._client_reader, self._client_writer = client
        self._broker_reader, self._broker_writer = broker
        self._requests: Queued = asyncio.Queue(_MAX_QUEUED)
        self._answers: Queued = asyncio.Queue(_MAX_QUEUED)
        # Requests that the broker has not answered, by correlation id, and what is to happen to the answer.
        self._pending: dict[int, Rule | None] = {}
        # Set while nothing is pending.
        self._is_answered = asyncio.Event()
        self._has_held = False
        self._is_client_gone = False

    async def run(self) -> None:
        """Forward frames; returns when the link is closed."""
        readers = [self._read(self._client_reader, self._requests), self._read(self._broker_reader, self._answers)]
        tasks = [asyncio.create_task(coroutine) for coroutine in (self._deliver_requests(), self._deliver_answers(), *readers)]
        is_dropped = True
        try:
            await asyncio.wait(tasks[:2], return_when=asyncio.FIRST_COMPLETED)
            is_dropped = False
        finally:
            for task in tasks:
                task.cancel()
            # Before anything is awaited: another cancellation may cut short what follows.
            for writer in (self._client_writer, self._broker_writer):
                if is_dropped:
                    writer.transport.abort()
                writer.close()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (self._client_writer, self._broker_writer):
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader, queue: Queued) -> None:
        loop = asyncio.get_running_loop()
        while (frame := await read_frame(reader)) is not None:
            conditions = self._network.conditions
            delay_s = conditions.request_delay_s if queue is self._requests else conditions.answer_delay_s
            await queue.put((loop.time() + delay_s, frame))
        if queue is self._requests:
            self._is_client_gone = True
        await queue.put(None)

    async def _deliver_requests(self) -> None:
        while (queued := await self._requests.get()) is not None:
            await _until(queued[0])
            while self._network.conditions.stalls_requests:
                await self._network.healed.wait()
            request = Request(queued[1])
            rule = self._network.passing(request)
            if self._network.conditions.loses_requests:
                continue
            if rule is not None and rule.action is Action.DROP:
                self._network.applied(rule)
                raise Broken
            if rule is not None and rule.action is Action.HOLD:
                await self._hold(rule)
            self._pending[request.correlation_id] = rule
            self._is_answered.clear()
            self._broker_writer.write(request.frame)
            await self._broker_writer.drain()
        if self._has_held and self._pending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_answered.wait(), _LATE_ANSWER_S)

    async def _hold(self, rule: Rule) -> None:
        self._has_held = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._network.healed.wait(), rule.seconds)
        self._network.applied(rule, is_client_gone=self._is_client_gone)

    async def _deliver_answers(self) -> None:
        while (queued := await self._answers.get()) is not None:
            await _until(queued[0])
            answer = Answer(queued[1])
            rule = self._pending.pop(answer.correlation_id, None)
            if not self._pending:
                self._is_answered.set()
            while self._network.conditions.stalls_answers:
                await self._network.healed.wait()
            if not self._network.conditions.loses_answers:
                await self._answer(answer, rule)

    async def _answer(self, answer: Answer, rule: Rule | None) -> None:
        action = rule.action if rule is not None else None
        if rule is not None and action in (Action.SWALLOW, Action.CUT, Action.DROP_ANSWER):
            self._network.applied(rule)
        if action is Action.SWALLOW:
            return
        if action is Action.DROP_ANSWER:
            raise Broken
        # Whoever is gone gets nothing; what the broker says to what was held is of no use to anybody.
        with contextlib.suppress(ConnectionError):
            self._client_writer.write(answer.frame[: len(answer.frame) // 2] if action is Action.CUT else answer.frame)
            if action is Action.CUT:
                raise Broken
            await self._client_writer.drain()


async def _until(due_s: float) -> None:
    left_s = due_s - asyncio.get_running_loop().time()
    if left_s > 0:
        await asyncio.sleep(left_s)

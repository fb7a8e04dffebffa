"""A faulty network: a proxy before each broker, which reads Kafka's frames and applies the faults of a test.

All proxies run in one thread with its own event loop, so that a busy test does not slow them. Every method of `Proxy` may be
called from any thread, at any time, and holds for the connections that are open as for those to come.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from typing import TYPE_CHECKING, Protocol, Self

from tests.faults.lab.frames import Conditions, Kind, Rule
from tests.faults.lab.link import Link

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from types import TracebackType

    from tests.faults.lab.frames import Action, Request


class OnFault(Protocol):
    """Receives the faults that a proxy applies."""

    def __call__(self, name: str, **fields: object) -> None:
        """Note a fault."""


class Proxy:
    """The proxy before one broker."""

    def __init__(self, name: str, port: int, broker_port: int, on_fault: OnFault) -> None:
        """Forward `port` to `broker_port`, after `start`."""
        self.name = name
        self.port = port
        self.broker_port = broker_port
        self.on_fault = on_fault
        self.conditions = Conditions()
        self.rules: list[Rule] = []
        # Requests that passed, by kind.
        self.num_requests: Counter[int] = Counter()
        # Connections that are open; only the proxies' thread touches them.
        self._links: set[asyncio.Task[None]] = set()
        # Set when the network heals, and then replaced by another: what is held or stalled goes on.
        self.healed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def delay(self, *, requests_s: float = 0.0, answers_s: float = 0.0) -> None:
        """Delay every frame in both directions."""
        self._change("delay", request_delay_s=requests_s, answer_delay_s=answers_s)

    def stall(self, *, requests: bool = True, answers: bool = True) -> None:
        """Hold all bytes back in both directions until `heal`; connections stay open, and new ones are accepted."""
        self._change("stall", stalls_requests=requests, stalls_answers=answers)

    def black_hole(self, *, requests: bool = True, answers: bool = True) -> None:
        """Drop all bytes in both directions until `heal`; connections stay open."""
        self._change("black_hole", loses_requests=requests, loses_answers=answers)

    def refuse(self) -> None:
        """Refuse new connections; open connections stay."""
        self.on_fault("refuse", proxy=self.name)
        self.run(self._close())

    def drop_connections(self) -> None:
        """Break every open connection."""
        self.on_fault("drop_connections", proxy=self.name)
        self.run(self._drop())

    def arm(self, kind: Kind, action: Action, *, seconds: float = 0.0, count: int = 1, containing: bytes = b"") -> Rule:
        """Apply a fault to the next `count` requests of a kind; each is noted when it happens."""
        rule = Rule(kind, action, seconds, count, containing)
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """End all faults: held and stalled frames are delivered, and rules are removed."""
        self.rules.clear()
        self.run(self._heal())

    def passing(self, request: Request) -> Rule | None:
        """Count a request and return its fault, if it has one."""
        self.num_requests[request.kind] += 1
        for rule in self.rules:
            if rule.left > 0 and rule.kind == request.kind and rule.containing in request.frame:
                rule.left -= 1
                return rule
        return None

    def applied(self, rule: Rule, **fields: object) -> None:
        """Note that a rule was applied."""
        rule.num_applied += 1
        self.on_fault(rule.action, proxy=self.name, kind=Kind(rule.kind).name, seconds=rule.seconds, **fields)

    async def start(self) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Stop listening, and break open connections."""
        await self._close()
        await self._drop()

    def run(self, step: Coroutine[None, None, None]) -> None:
        """Run a function in the thread of the proxies, and wait for it."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    def _change(self, name: str, **conditions: float) -> None:
        for condition, value in conditions.items():
            setattr(self.conditions, condition, value)
        self.on_fault(name, proxy=self.name, **conditions)

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _heal(self) -> None:
        has_lost = self.conditions.loses_requests or self.conditions.loses_answers
        self.conditions = Conditions()
        if self._server is None:
            await self._listen()
        healed, self.healed = self.healed, asyncio.Event()
        healed.set()
        if has_lost:
            await self._drop()

    async def _drop(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        if links:
            await asyncio.wait(links)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.current_task()
        assert link is not None
        self._links.add(link)
        # A link that is dropped is cancelled; a broker that is away refuses.
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await Link(self, (reader, writer), await asyncio.open_connection("127.0.0.1", self.broker_port)).run()
        writer.transport.abort()
        self._links.discard(link)


class Proxies:
    """All proxies of a cluster, in a thread of their own."""

    def __init__(self, ports: Sequence[tuple[int, int]], on_fault: OnFault) -> None:
        """Create a proxy for each pair of its own port and its broker's port."""
        self._proxies = [Proxy(f"proxy-{i}", *pair, on_fault) for i, pair in enumerate(ports)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __getitem__(self, index: int) -> Proxy:
        """Return the proxy before a broker."""
        return self._proxies[index]

    def __len__(self) -> int:
        """Return the number of brokers."""
        return len(self._proxies)

    def heal(self) -> None:
        """Heal all."""
        for proxy in self._proxies:
            proxy.heal()

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        for proxy in self._proxies:
            asyncio.run_coroutine_threadsafe(proxy.start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Break all connections and end the thread."""
        for proxy in self._proxies:
            asyncio.run_coroutine_threadsafe(proxy.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

"""The proxies carry frames as they are, and do to them what they are asked for, once each."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import pytest

from tests.faults.lab.frames import Action, Kind, read_frame
from tests.faults.lab.proxy import Proxies, Proxy
from tests.integration.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def frame(content: bytes) -> bytes:
    """Return a frame."""
    return len(content).to_bytes(4) + content


def request(kind: int, correlation_id: int, body: bytes = b"") -> bytes:
    """Return a request."""
    return frame(kind.to_bytes(2) + b"\0\1" + correlation_id.to_bytes(4) + body)


def answer(correlation_id: int, body: bytes = b"") -> bytes:
    """Return what the broker below answers to a request."""
    return frame(correlation_id.to_bytes(4) + body)


class Network:
    """A broker that repeats what it is told, a proxy before it, and what both have seen."""

    def __init__(self) -> None:
        self.port, self.broker_port = free_ports(2)
        self.arrived: list[bytes] = []
        # Set whenever something arrives at the broker.
        self.has_arrived = asyncio.Event()
        self.faults: list[tuple[str, dict[str, object]]] = []
        self._serving: list[asyncio.Task[None]] = []
        self._proxies = Proxies([(self.port, self.broker_port)], self._note)
        self._stack = contextlib.AsyncExitStack()

    @property
    def proxy(self) -> Proxy:
        """The proxy."""
        return self._proxies[0]

    async def __aenter__(self) -> Self:
        """Listen."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.broker_port)
        self._stack.push_async_callback(self._all_served)
        self._stack.callback(server.close)
        self._stack.enter_context(self._proxies)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        await self._stack.aclose()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the proxy."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._stack.push_async_callback(_closed, writer)
        return reader, writer

    async def until_arrived(self, count: int) -> None:
        """Wait until the broker has so many frames."""
        while len(self.arrived) < count:
            self.has_arrived.clear()
            await self.has_arrived.wait()

    async def _all_served(self) -> None:
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.append(serving)
        while (found := await read_frame(reader)) is not None:
            self.arrived.append(found)
            self.has_arrived.set()
            writer.write(answer(int.from_bytes(found[8:12]), found[12:]))
        await _closed(writer)

    def _note(self, name: str, **fields: object) -> None:
        self.faults.append((name, fields))


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    """Give a proxy before a broker."""
    async with Network() as network:
        yield network


async def test_frames_pass_as_they_are(network: Network) -> None:
    """Frames of any size pass in both directions and in order, and the proxy counts requests by kind."""
    reader, writer = await network.connect()
    bodies = [b"", b"x", b"y" * 300_000]
    for number, body in enumerate(bodies):
        writer.write(request(Kind.PRODUCE, number, body))
    for number, body in enumerate(bodies):
        assert await read_frame(reader) == answer(number, body)
    assert network.proxy.num_requests == {Kind.PRODUCE: 3}
    assert network.faults == []


async def test_a_held_request_arrives_after_its_client_is_gone(network: Network) -> None:
    """The client sends its next request on another connection, and the broker receives the held request later."""
    network.proxy.arm(Kind.END_TXN, Action.HOLD, seconds=60)
    _, writer = await network.connect()
    writer.write(request(Kind.END_TXN, 1, b"old"))
    await writer.drain()
    writer.close()
    reader, writer = await network.connect()
    writer.write(request(Kind.END_TXN, 2, b"new"))
    assert await read_frame(reader) == answer(2, b"new")
    assert [request[12:] for request in network.arrived] == [b"new"]
    network.proxy.heal()
    await network.until_arrived(2)
    assert [request[12:] for request in network.arrived] == [b"new", b"old"]
    assert [(name, details["kind"], details["is_client_gone"]) for name, details in network.faults] == [("hold", "END_TXN", True)]


async def test_a_rule_meets_the_kind_and_the_content_it_names(network: Network) -> None:
    """Other requests pass, and the rule applies at most `count` times."""
    rule = network.proxy.arm(Kind.PRODUCE, Action.SWALLOW, count=1, containing=b"mine")
    reader, writer = await network.connect()
    for number, (kind, body) in enumerate(
        [(Kind.FETCH, b"mine"), (Kind.PRODUCE, b"other"), (Kind.PRODUCE, b"is mine"), (Kind.PRODUCE, b"mine")]
    ):
        writer.write(request(kind, number, body))
    assert [await read_frame(reader) for _ in range(3)] == [answer(0, b"mine"), answer(1, b"other"), answer(3, b"mine")]
    assert rule.num_applied == 1
    assert len(network.arrived) == 4


@pytest.mark.parametrize(("action", "num_arrived", "rest"), [(Action.CUT, 1, 6), (Action.DROP, 0, 0), (Action.DROP_ANSWER, 1, 0)])
async def test_a_connection_breaks_where_it_is_told_to(network: Network, action: Action, num_arrived: int, rest: int) -> None:
    """The connection breaks before the request, after the request, or within the answer."""
    network.proxy.arm(Kind.PRODUCE, action)
    reader, writer = await network.connect()
    writer.write(request(Kind.PRODUCE, 1, b"body"))
    got = b""
    with contextlib.suppress(ConnectionError):
        while some := await reader.read(1):
            got += some
    assert got == answer(1, b"body")[:rest]
    assert len(network.arrived) == num_arrived
    assert [name for name, _ in network.faults] == [action]


async def test_a_stalled_connection_continues_when_the_network_heals(network: Network) -> None:
    """The stalled answer arrives after healing; nothing is lost."""
    network.proxy.stall(requests=False)
    reader, writer = await network.connect()
    writer.write(request(Kind.PRODUCE, 1))
    await network.until_arrived(1)
    network.proxy.heal()
    assert await read_frame(reader) == answer(1)


async def test_a_black_hole_takes_and_loses(network: Network) -> None:
    """A request into the black hole never arrives, and healing breaks its connection."""
    reader, writer = await network.connect()
    network.proxy.black_hole()
    writer.write(request(Kind.PRODUCE, 1))
    while not network.proxy.num_requests[Kind.PRODUCE]:  # noqa: ASYNC110  another thread counts
        await asyncio.sleep(0.01)
    network.proxy.heal()
    assert await read_frame(reader) is None
    assert network.arrived == []
    reader, writer = await network.connect()
    writer.write(request(Kind.PRODUCE, 2))
    assert await read_frame(reader) == answer(2)


async def test_connections_are_refused_and_dropped(network: Network) -> None:
    """Open connections stay while new connections are refused; `drop_connections` closes the open ones."""
    reader, writer = await network.connect()
    writer.write(request(Kind.PRODUCE, 1))
    assert await read_frame(reader) == answer(1)
    network.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await network.connect()
    writer.write(request(Kind.PRODUCE, 2))
    assert await read_frame(reader) == answer(2)
    network.proxy.drop_connections()
    assert await read_frame(reader) is None
    network.proxy.heal()
    reader, writer = await network.connect()
    writer.write(request(Kind.PRODUCE, 3))
    assert await read_frame(reader) == answer(3)


async def test_a_delay_holds_every_frame_and_keeps_their_order(network: Network) -> None:
    """Twenty frames arrive in order, and the last answer has both delays."""
    network.proxy.delay(requests_s=0.2, answers_s=0.1)
    loop = asyncio.get_running_loop()
    reader, writer = await network.connect()
    began_s = loop.time()
    for number in range(20):
        writer.write(request(Kind.FETCH, number))
    assert [await read_frame(reader) for _ in range(20)] == [answer(number) for number in range(20)]
    assert loop.time() - began_s >= 0.3

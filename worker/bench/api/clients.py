"""The clients of the benchmark. They share the cores with the servers, so they build and parse as little as possible."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING

import orjson

from worker.bench.stream.load_generator import summarize_latency
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

_END = b"\r\n\r\n"


class Client(asyncio.Protocol):
    """A connection that stays open for one request after another."""

    def __init__(self, note_answer: Callable[[Client, float], None]) -> None:
        """Call `note_answer` with the client and the milliseconds of each request, from the call of `send` to the whole answer."""
        self._note_answer = note_answer
        self._received = b""
        #: Done when the connection is closed; its exception is the error of a server.
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # that of a socket can write

    def send(self, request: bytes) -> None:
        """Send a request; the one before must be answered."""
        self._began_s = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Note the answer when its body is complete."""
        self._received += data
        head, end, body = self._received.partition(_END)
        if not end:
            return
        try:
            is_whole = len(body) >= read_length(head)
        except BadModel as error:
            self.closed.set_exception(error)
            self.close()
            return
        if is_whole:
            self._received = b""
            self._note_answer(self, (time.perf_counter() - self._began_s) * 1000)

    def connection_lost(self, error: Exception | None) -> None:
        """End the wait for the connection."""
        if not self.closed.done():
            self.closed.set_exception(error) if error else self.closed.set_result(None)


async def connect(port: int, note_answer: Callable[[Client, float], None]) -> Client:
    """Return a client of a server on this machine; `note_answer` is that of `Client`."""
    return (await asyncio.get_running_loop().create_connection(lambda: Client(note_answer), "127.0.0.1", port))[1]


async def send_in_turn(port: int, texts: Sequence[str], *, num_clients: int, seconds: float) -> dict[str, float]:
    """Let all clients send texts one after another; return queries per second and percentiles of the latency."""
    requests, waits_ms = itertools.cycle([build_request(text) for text in texts]), list[float]()

    def send_next(client: Client, wait_ms: float) -> None:
        waits_ms.append(wait_ms)
        client.send(next(requests)) if time.perf_counter() < until_s else client.close()

    clients = [await connect(port, send_next) for _ in range(num_clients)]
    until_s = time.perf_counter() + seconds
    for client in clients:
        client.send(next(requests))
    await asyncio.gather(*(client.closed for client in clients))
    return {"queries_per_s": len(waits_ms) / seconds, **summarize_latency(waits_ms)}


@contextlib.asynccontextmanager
async def send_regularly(port: int, texts: Sequence[str], *, rate_per_s: float) -> AsyncIterator[None]:
    """Send texts at a rate inside the context, whether or not the endpoint has answered; rate 0 sends nothing.

    The end of the context raises the error of a connection or of an answer.
    """
    clients, free = list[Client](), list[Client]()

    async def send_all() -> None:
        for request in itertools.cycle([build_request(text) for text in texts]):
            if not free:
                clients.append(await connect(port, lambda client, _wait_ms: free.append(client)))
                free.append(clients[-1])
            free.pop().send(request)
            await asyncio.sleep(1 / rate_per_s)

    sending = asyncio.create_task(send_all()) if rate_per_s else None
    try:
        yield
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.wait([sending])
        for client in clients:
            client.close()
    await asyncio.gather(*(client.closed for client in clients))
    if sending is not None and not sending.cancelled():
        sending.result()


def build_request(text: str) -> bytes:
    """Return the bytes of a request of `/embed`."""
    body = orjson.dumps({"inputs": text})
    head = f"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + _END + body


def read_length(head: bytes) -> int:
    """Return the length of the body after the head of an answer. Raises `BadModel` for an error."""
    status, *fields = head.decode().lower().splitlines()
    if " 200 " not in status:
        raise BadModel(f"the server answered with {status}")
    return next(int(field.partition(":")[2]) for field in fields if field.startswith("content-length:"))

"""The HTTP endpoints of a worker, or of a supervisor for all of its replicas: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from http import HTTPStatus
from typing import TYPE_CHECKING, Self, TypeAlias

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.errors import BadSettings, describe_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from prometheus_client import CollectorRegistry

    Check = Callable[[], Awaitable[str | None]]
    Metrics = Callable[[], Awaitable[bytes]]
    Page = Callable[[], Awaitable["Answer"]]

# The status, the content type and the body of a response.
Answer: TypeAlias = tuple[HTTPStatus, str, bytes]
_TEXT = "text/plain; charset=utf-8"
# The bound of the first line and the headers of a request.
_MAX_HEAD_BYTES = 16_384
# The bound of a request with its response; the metrics of several workers take some seconds.
_REQUEST_TIMEOUT_S = 30.0
# The beginning of an address in the file system.
_UNIX = "unix:"
_PAGES = """/metrics  metrics for Prometheus
/readyz   whether every assigned partition is read
/livez    whether the worker runs
"""
# Errors of the port, not of the host: it is in use, or not permitted.
_PORT_ERRORS = {errno.EADDRINUSE, errno.EACCES}


class HttpServer:
    """Listens inside its context. A check returns None for yes, or the reason for no, which is sent with status 503.

    A whole web framework would take a sixth of the time from the start of a worker to its first record.
    """

    def __init__(
        self, *, address: tuple[str, int], metrics: Metrics, is_live: Check, is_ready: Check, describe: Callable[[], str] = str
    ) -> None:
        """Listen at a host and port, where port 0 is any free port; a host `unix:<path>` is a socket, without a port.

        `describe` returns the second line of `/readyz`, or nothing.
        """
        self._host, self._asked_port = address
        self._pages: dict[str, Page] = {
            "/": _list_pages,
            "/livez": _answering(is_live),
            "/readyz": _answering(is_ready, describe),
            "/metrics": _showing(metrics),
        }
        # None before the server listens.
        self._server: asyncio.Server | None = None
        # The port of the listening server; 0 before.
        self.port = 0

    @property
    def address(self) -> str:
        """The address, for people."""
        return self._host if self._host.startswith(_UNIX) else f"{self._host}:{self.port or self._asked_port}"

    async def __aenter__(self) -> Self:
        """Listen; raises `BadSettings` if the address cannot be used."""
        if self._host == _UNIX:
            raise BadSettings("GIST_HTTP_HOST: the path of the socket is missing after `unix:`")
        is_socket = self._host.startswith(_UNIX)
        try:
            if is_socket:
                path = self._host.removeprefix(_UNIX)
                self._server = await asyncio.start_unix_server(self._serve, path, limit=_MAX_HEAD_BYTES)
            else:
                self._server = await asyncio.start_server(self._serve, self._host, self._asked_port, limit=_MAX_HEAD_BYTES)
        except (OSError, ValueError) as error:
            is_port = not is_socket and isinstance(error, OSError) and error.errno in _PORT_ERRORS
            reason = (error.strerror if isinstance(error, OSError) else None) or describe_error(error)
            name, advice = ("PORT", "; set 0 for any free port") if is_port else ("HOST", "")
            raise BadSettings(f"GIST_HTTP_{name}: the worker cannot listen at {self.address}: {reason}{advice}") from error
        if not is_socket:
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection. A client that leaves, is slow or sends no request gets no answer."""
        # The end of the event loop cancels open connections, which would otherwise be logged.
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.CancelledError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
        writer.close()

    async def _answer(self, head: bytes) -> bytes:
        """Return the response to the head of a request."""
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        page = self._pages.get(rest.partition(" ")[0].partition("?")[0])
        if method not in {"GET", "HEAD"}:
            answer = HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b""
        else:
            answer = await page() if page else (HTTPStatus.NOT_FOUND, _TEXT, b"not found: see /\n")
        status, content_type, body = answer
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + (b"" if method == "HEAD" else body)


def build_metrics_page(registry: CollectorRegistry) -> Metrics:
    """Return a function that returns the metrics of a registry."""

    async def show() -> bytes:
        return generate_latest(registry)

    return show


def build_probe(reason: Callable[[], str | None]) -> Check:
    """Return a check from a function that does not wait."""

    async def check() -> str | None:
        return reason()

    return check


async def _list_pages() -> Answer:
    return HTTPStatus.OK, _TEXT, _PAGES.encode()


def _showing(metrics: Metrics) -> Page:
    async def answer() -> Answer:
        return HTTPStatus.OK, CONTENT_TYPE_LATEST, await metrics()

    return answer


def _answering(check: Check, describe: Callable[[], str] = str) -> Page:
    async def answer() -> Answer:
        reason = await check()
        lines = [reason or "ok", describe()]
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        return status, _TEXT, "".join(f"{line}\n" for line in lines if line).encode()

    return answer

"""The HTTP endpoints of a worker, or of a supervisor for all of its replicas: `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.errors import BadSettings, describe_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from prometheus_client import CollectorRegistry

    Check = Callable[[], Awaitable[str | None]]
    Metrics = Callable[[], Awaitable[bytes]]

# The beginning of an address in the file system.
_UNIX = "unix:"
_PAGES = """/metrics  metrics for Prometheus
/readyz   whether every assigned partition is read
/livez    whether the worker runs
"""
# Errors of the port, not of the host: it is in use, or not permitted.
_PORT_ERRORS = {errno.EADDRINUSE, errno.EACCES}


class HttpServer:
    """Listens inside of its context. A check returns None for yes, or the reason for no, which is sent with status 503."""

    def __init__(
        self, *, address: tuple[str, int], metrics: Metrics, is_live: Check, is_ready: Check, describe: Callable[[], str] = str
    ) -> None:
        """Listen at a host and port, where port 0 is any free port; a host `unix:<path>` is a socket, without a port.

        `describe` returns the second line of `/readyz`, or nothing.
        """
        self._host, self._asked_port = address
        self._answer_metrics = metrics
        application = web.Application()
        application.router.add_get("/", _list_pages)
        application.router.add_get("/livez", _answering(is_live))
        application.router.add_get("/readyz", _answering(is_ready, describe))
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
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
        await self._runner.setup()
        is_socket = self._host.startswith(_UNIX)
        try:
            if is_socket:
                await web.UnixSite(self._runner, self._host.removeprefix(_UNIX)).start()
            else:
                await web.TCPSite(self._runner, self._host, self._asked_port).start()
        except (OSError, ValueError) as error:
            await self._runner.cleanup()
            is_port = not is_socket and isinstance(error, OSError) and error.errno in _PORT_ERRORS
            reason = (error.strerror if isinstance(error, OSError) else None) or describe_error(error)
            name, advice = ("PORT", "; 0 takes a free port") if is_port else ("HOST", "")
            raise BadSettings(f"GIST_HTTP_{name}: the worker cannot listen at {self.address}: {reason}{advice}") from error
        if not is_socket:
            self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._answer_metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})


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


async def _list_pages(_request: web.Request) -> web.Response:
    return web.Response(text=_PAGES)


def _answering(check: Check, describe: Callable[[], str] = str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        reason = await check()
        lines = [reason or "ok", describe()]
        return web.Response(text="".join(f"{line}\n" for line in lines if line), status=503 if reason else 200)

    return answer

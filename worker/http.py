"""What orchestrators and Prometheus ask of a worker: `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from prometheus_client import CollectorRegistry

    Check = Callable[[], str | None]


class HttpServer:
    """Listens while it is entered. A check returns None for yes, or the reason for no, which is shown with status 503."""

    def __init__(self, *, host: str, port: int, registry: CollectorRegistry, is_live: Check, is_ready: Check) -> None:
        """Listen at `host`; a `port` of 0 is any free one."""
        self._host = host
        self._asked_port = port
        self._registry = registry
        application = web.Application()
        application.router.add_get("/livez", _answering(is_live))
        application.router.add_get("/readyz", _answering(is_ready))
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        # The port that we really listen at, once we do.
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen; raises `BadSettings` where the address is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._asked_port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise BadSettings(f"GIST_HTTP_PORT: nothing can listen at {self._host}:{self._asked_port}: {error.strerror}") from error
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answering(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        reason = check()
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    return answer

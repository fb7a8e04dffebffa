"""The connections of the endpoint, which answer a request that is not valid HTTP in the form of the other errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker.api.bodies import write_json
from worker.api.failures import Kind, RequestFailed, build_openai_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.web_request import BaseRequest

_REASON = "the request is not valid HTTP, its headers are too large, or the encoding of its body is not supported"


class Connections(web.Server):
    """Accepts connections."""

    def __init__(self, handler: Any, count_invalid: Callable[[int], None], **options: Any) -> None:
        """Answer with `handler`; `count_invalid` gets the status of the answer to a request that cannot be parsed."""
        super().__init__(handler, **options)
        self.count_invalid = count_invalid

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, self.count_invalid, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    """Answers a request that cannot be parsed with one line. The line of aiohttp contains parts of the request."""

    __slots__ = ("_count_invalid",)

    def __init__(self, server: Connections, count_invalid: Callable[[int], None], **options: Any) -> None:
        """Open for a connection of `server`."""
        super().__init__(server, **options)
        self._count_invalid = count_invalid

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the answer, after which the connection closes."""
        if exc is None or status >= Kind.BUG.value.status:
            return super().handle_error(request, status, exc, message)
        response = write_json(build_openai_body(RequestFailed(Kind.INVALID, _REASON)), status=status)
        response.force_close()
        self._count_invalid(status)
        return response

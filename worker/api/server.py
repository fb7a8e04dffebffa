"""The HTTP server of the endpoint for queries: listening, TLS, access, deadlines and errors."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiohttp import HttpVersion11, web

from worker.api.bodies import TRACE, check_headers, write_json
from worker.api.connections import Connections
from worker.api.documents import build_openapi, read_page
from worker.api.failures import RETRIABLE, Kind, RequestFailed, build_openai_body, build_tei_body
from worker.api.infer_route import InferRoute
from worker.api.openai_routes import OpenAiRoutes
from worker.api.queries import Overloaded, Unavailable
from worker.api.tei_routes import TeiRoutes
from worker.errors import BadSettings, describe_error
from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from worker.api.service import Service
    from worker.api.tokens import TokenFile
    from worker.observability.api_metrics import ApiMetrics
    from worker.records import Headers

    # Continues the trace of a request of a route by its headers, and returns the headers of the trace for records.
    Trace = Callable[[str, Mapping[str, str]], AbstractContextManager[Headers]]
    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# The pages that a browser opens without a token. They show no model and no text.
_OPEN = frozenset({"/docs", "/docs.js", "/docs.css", "/openapi.json"})
_TEI = frozenset({"/", "/embed", "/predict"})
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
_GONE = 499
# A client tries again after this time, in seconds.
_RETRY_AFTER_S = 1
# After an error the rest of the body is read for this time, so that the client sees the answer before the connection closes.
_LINGERING_S = 1.0
# The transport accepts this much without waiting for the client; half of the limit of asyncio.
_MAX_UNREAD_BYTES = 32_768
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "authorization, content-type",
    "Access-Control-Max-Age": "600",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Address, access and bounds of the server."""

    host: str
    port: int
    #: Whether several processes listen at the port.
    is_shared: bool
    tls: ssl.SSLContext | None
    tokens: TokenFile | None
    #: The origins whose pages may call the routes; `*` for all.
    cors_origins: Collection[str]
    max_body_bytes: int
    timeout_s: float
    #: The time after which a connection without a request is closed: longer than proxies keep connections.
    keepalive_s: float = 75.0


class ApiServer:
    """Listens inside its context."""

    def __init__(
        self,
        service: Service,
        options: ServerOptions,
        *,
        metrics: ApiMetrics,
        trace: Trace,
        report_bug: Callable[[str, Exception], None],
    ) -> None:
        """Answer with `service`. `report_bug` logs the class of an unexpected exception."""
        self._options = options
        self._metrics = metrics
        self._trace = trace
        self._report_bug = report_bug
        # The handlers by path and method.
        self._routes = _build_routes(service)
        # Set by the start: the server belongs to the running event loop.
        self._runner: web.ServerRunner | None = None
        # The port of the listening server; 0 before.
        self.port = 0

    @property
    def address(self) -> str:
        """The address, for people."""
        return f"{'https' if self._options.tls else 'http'}://{self._options.host}:{self.port or self._options.port}"

    async def __aenter__(self) -> Self:
        """Listen; raises `BadSettings` if the address cannot be used."""
        options = self._options
        self._runner = runner = self._build_runner()
        await runner.setup()
        site = web.TCPSite(runner, options.host, options.port, ssl_context=options.tls, reuse_port=options.is_shared or None)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            reason = error.strerror or describe_error(error)
            raise BadSettings(
                f"GIST_API_HOST, GIST_API_PORT: the worker cannot listen at {self.address}: {reason}; set port 0 for any free port"
            ) from error
        self.port = runner.addresses[0][1]
        return self

    def _build_runner(self) -> web.ServerRunner:
        # The messages of aiohttp have tracebacks and parts of requests.
        silent = logging.getLogger("gist-stream.aiohttp")
        silent.disabled = True
        options = self._options
        # A web.Application would search its routes and call middlewares for each request, which takes more time.
        server = Connections(
            self._answer,
            self._metrics.invalid_request,
            request_factory=partial(_build_request, options.max_body_bytes),
            handler_cancellation=True,
            access_log=None,
            logger=silent,
            keepalive_timeout=options.keepalive_s,
            lingering_time=min(_LINGERING_S, options.timeout_s),
        )
        return web.ServerRunner(server, shutdown_timeout=options.timeout_s)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening after the answers of the requests in flight."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the answer of a route, or an error in the form of the route; count both."""
        began_s, status = time.monotonic(), _GONE
        try:
            response = await self._answer_within_limits(request)
            status = response.status
            self._add_cors(request, response)
            await self._send(request, response)
            return response
        finally:
            self._metrics.request(self._find_route(request), status, time.monotonic() - began_s)

    async def _send(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Write an answer. A client that does not read it within the time limit loses its connection, and frees the memory."""
        try:
            async with asyncio.timeout(self._options.timeout_s) if _may_wait(request, response) else nullcontext():
                await response.prepare(request)
                await response.write_eof()
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()

    async def _answer_within_limits(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.method == "OPTIONS" and self._find_origin(request):
                return web.Response(status=204, headers=_PREFLIGHT)
            self._check_token(request)
            with self._trace(self._find_route(request), request.headers) as headers:
                TRACE.set(headers)
                handler = self._find_handler(request)
                async with asyncio.timeout(self._options.timeout_s):
                    return await handler(request)
        except Exception as error:  # noqa: BLE001  every exception is an answer
            failure = self._describe(request, error)
        kind, is_tei = failure.kind, request.path in _TEI
        body = build_tei_body(failure) if is_tei else build_openai_body(failure)
        sent = {"Retry-After": str(_RETRY_AFTER_S)} if kind in RETRIABLE else {}
        if kind is Kind.UNAUTHORIZED:
            sent["WWW-Authenticate"] = "Bearer"
        if kind is Kind.WRONG_METHOD:
            sent["Allow"] = ", ".join(sorted(self._routes[request.path]))
        if not request.content.at_eof():
            # The rest of the body is not read.
            sent["Connection"] = "close"
        return write_json(body, status=kind.value.tei_status if is_tei else kind.value.status, headers=sent)

    def _find_handler(self, request: web.BaseRequest) -> Handler:
        methods = self._routes.get(request.path)
        if methods is None:
            served = ", ".join(sorted(self._routes))
            raise RequestFailed(Kind.UNKNOWN_ROUTE, f"there is no such route; these are served: {served}")
        if request.method not in methods:
            raise RequestFailed(Kind.WRONG_METHOD, f"the route accepts {', '.join(sorted(methods))}")
        check_headers(request)
        is_waiting = "Expect" in request.headers and request.version >= HttpVersion11
        # A client of HTTP/1.0 reads an interim answer as the answer.
        if is_waiting and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return methods[request.method]

    def _check_token(self, request: web.BaseRequest) -> None:
        tokens = self._options.tokens
        if tokens is not None and request.path not in _OPEN and not tokens.accepts(request.headers.get("Authorization", "")):
            raise RequestFailed(Kind.UNAUTHORIZED, "the header `Authorization: Bearer TOKEN` is missing or has no accepted token")

    def _describe(self, request: web.BaseRequest, error: Exception) -> RequestFailed:
        """Return the failure that an exception means for the client."""
        kind, message = Kind.BUG, f"the worker failed: {type(error).__name__}"
        match error:
            case RequestFailed():
                return error
            case Overloaded():
                kind, message = Kind.OVERLOADED, str(error)
            case Unavailable():
                kind, message = Kind.UNAVAILABLE, str(error)
            case web.HTTPRequestEntityTooLarge():
                limit = self._options.max_body_bytes
                kind, message = Kind.TOO_LARGE, f"the body has more than {limit} bytes (GIST_API_MAX_BODY_BYTES)"
            case TimeoutError():
                kind, what = (Kind.TIMEOUT, "no answer") if request.content.at_eof() else (Kind.SLOW_BODY, "no whole body")
                message = f"{what} within {self._options.timeout_s:g} s (GIST_API_TIMEOUT_MS)"
            case web.RequestPayloadError():
                kind, message = Kind.INVALID, "the body cannot be read: its encoding or its length is wrong"
            case _:
                self._report_bug(self._find_route(request), error)
        return RequestFailed(kind, message)

    def _find_route(self, request: web.BaseRequest) -> str:
        return request.path if request.path in self._routes else "other"

    def _find_origin(self, request: web.BaseRequest) -> str | None:
        """Return the origin of a page that may read the answer."""
        origin, allowed = request.headers.get("Origin"), self._options.cors_origins
        return origin if origin is not None and ("*" in allowed or origin in allowed) else None

    def _add_cors(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        if (origin := self._find_origin(request)) is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "gist-model, retry-after"
            response.headers["Vary"] = "Origin"


def _may_wait(request: web.BaseRequest, response: web.StreamResponse) -> bool:
    """Return whether the write of an answer may wait: not that of a small one to a client that has read all earlier ones."""
    is_small = isinstance(response, web.Response) and isinstance(response.body, bytes) and len(response.body) <= _MAX_UNREAD_BYTES
    return not is_small or request.transport is None or request.transport.get_write_buffer_size() > 0


def _build_routes(service: Service) -> Mapping[str, Mapping[str, Handler]]:
    """Return the handlers by path and method."""
    openai, tei = OpenAiRoutes(service), TeiRoutes(service)
    posted: dict[str, Handler] = {
        "/v1/embeddings": openai.embed,
        "/": tei.embed if Task.EMBED in service.tasks else tei.predict,
        "/embed": tei.embed,
        "/predict": tei.predict,
        "/v1/infer": InferRoute(service).infer,
    }
    shown: dict[str, Handler] = {"/v1/models": openai.list_models, "/openapi.json": _show_openapi}
    for path in ("/docs", "/docs.js", "/docs.css"):
        shown[path] = _show_page
    return {path: {"POST": handler} for path, handler in posted.items()} | {
        path: {"GET": handler, "HEAD": handler} for path, handler in shown.items()
    }


def _build_request(max_body_bytes: int, *parts: Any) -> web.BaseRequest:
    """Return a request with a bound of its body, from the parts that `Connections` gives its factory."""
    message, payload, protocol, writer, task = parts
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=max_body_bytes)


def read_certificate(cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return the TLS context of the server. Raises `BadSettings` if a file is not readable or the key is of another certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a password would ask at the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or describe_error(error)
        raise BadSettings(f"GIST_API_TLS_CERT_FILE, GIST_API_TLS_KEY_FILE: {cert_file}, {key_file}: {reason}") from error
    return context


async def _show_openapi(_request: web.BaseRequest) -> web.Response:
    return write_json(build_openapi())


async def _show_page(request: web.BaseRequest) -> web.Response:
    content, content_type = read_page(request.path)
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return web.Response(body=content, content_type=content_type, charset="utf-8", headers=headers)

"""The HTTP server of the console: the page, its events, and the requests of its views."""

from __future__ import annotations

import asyncio
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from worker.console.assets import SECURITY_HEADERS, read_assets
from worker.console.event_hub import EventHub, format_event
from worker.console.inference import EndpointFailed
from worker.console.letter_groups import group_letters
from worker.console.text_search import TextSearch
from worker.errors import FatalError, describe_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from worker.console.inference import InferenceEndpoint
    from worker.console.live_view import LiveView
    from worker.console.record_store import Place, RecordStore
    from worker.console.sources import DeadLetters

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY_BYTES = 1 << 20
_MAX_TEXT_CHARS = 20_000
# A browser gets the newest records at once, and a comment after this silence, so that proxies keep the connection.
_NUM_FIRST_ROWS, _KEEPALIVE_S = 200, 15.0
_MAX_REPLAYED = 10_000
# A browser that does not read its events for this time is disconnected.
_SEND_TIMEOUT_S = 30.0
_OTHER_SITES = frozenset({"cross-site", "same-site"})
_STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(slots=True)
class Console:
    """What the page shows, and who may change something."""

    #: Names for the page: input topics and group.
    description: Mapping[str, Any]
    store: RecordStore
    live: LiveView
    letters: DeadLetters
    endpoint: InferenceEndpoint | None = None
    #: The token of a replay; None if replays are not allowed.
    replay_token: str | None = None
    #: The names of this host in requests; none: every name is accepted.
    host_names: frozenset[str] = frozenset()
    #: Splits a text into the tokens of the model; None if the model is not on this machine.
    read_tokens: Callable[[str], list[str]] | None = None
    hub: EventHub = field(default_factory=EventHub)


def build_application(console: Console) -> web.Application:
    """Return the application. Its answers have the security headers, and its errors are JSON of one line."""
    assets, views = read_assets(), _Views(console)

    async def get_file(request: web.Request) -> web.Response:
        asset = assets.get(request.match_info.get("name", "index.html"))
        if asset is None:
            raise web.HTTPNotFound(reason="there is no such file")
        headers = {"ETag": f'"{asset.etag}"', "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=asset.content, content_type=asset.content_type, charset="utf-8", headers=headers)

    application = web.Application(middlewares=[_build_guard(console.host_names)], client_max_size=_MAX_BODY_BYTES)
    application.router.add_get("/", get_file)
    application.router.add_get("/static/{name}", get_file)
    application.router.add_get("/api/console", views.describe)
    application.router.add_get("/api/events", views.send_events)
    application.router.add_get("/api/records/{topic}/{partition:\\d+}/{offset:\\d+}", views.show_record)
    application.router.add_get("/api/dead-letters", views.list_letters)
    application.router.add_post("/api/dead-letters/replay", views.replay)
    application.router.add_post("/api/infer", views.infer)
    application.router.add_post("/api/search", views.search)
    return application


def _build_guard(host_names: frozenset[str]) -> Any:
    """Return the middleware that refuses foreign host names, adds the security headers and formats errors."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if host_names and _read_host_name(request.host) not in host_names:
                raise web.HTTPForbidden(reason="the console refuses this host name: open its page at localhost")
            # Browsers say so. Such a page could not read the answer, but use up places of events and read topics.
            if request.path.startswith("/api/") and request.headers.get("Sec-Fetch-Site") in _OTHER_SITES:
                raise web.HTTPForbidden(reason="a page of another site may not use the console")
            response = await handler(request)
        except web.HTTPException as error:
            response = _fail(error.status, error.reason)
        except EndpointFailed as error:
            response = _fail(502, str(error))
        except FatalError as error:
            response = _fail(503, describe_error(error))
        if not response.prepared:
            response.headers.update(SECURITY_HEADERS)
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return guard


class _Views:
    """The handlers of the requests."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._search = TextSearch(console.store, console.endpoint, console.read_tokens)
        # One command on the dead-letter topic at a time.
        self._letters_lock = asyncio.Lock()

    async def describe(self, _request: web.Request) -> web.Response:
        """Answer with the names and abilities of the console."""
        console = self._console
        abilities = {"can_infer": console.endpoint is not None, "can_replay": console.replay_token is not None}
        return _answer(dict(console.description) | abilities)

    async def send_events(self, request: web.Request) -> web.StreamResponse:
        """Send the state and then events, until the browser leaves."""
        console = self._console
        if console.hub.is_full:
            raise web.HTTPServiceUnavailable(reason="too many pages are open")
        response = web.StreamResponse(headers=_STREAM_HEADERS | dict(SECURITY_HEADERS))
        await response.prepare(request)
        with console.hub.subscribe() as subscription:
            rows = [console.store.build_row(place) for place in console.store.list_newest(_NUM_FIRST_ROWS)]
            subscription.put(format_event("records", {"rows": rows, "num_more": 0}))
            subscription.put(format_event("history", console.live.list_series()))
            try:
                while True:
                    try:
                        events = await asyncio.wait_for(subscription.take(), _KEEPALIVE_S)
                    except TimeoutError:
                        events = b": no event\n\n"
                    async with asyncio.timeout(_SEND_TIMEOUT_S):
                        await response.write(events)
            except (ConnectionError, TimeoutError):
                # The browser has left, or reads nothing. Its place is for another page.
                if request.transport is not None:
                    request.transport.abort()
                return response

    async def show_record(self, request: web.Request) -> web.Response:
        """Answer with everything about a record."""
        found = self._console.store.describe(_read_place(request.match_info))
        if found is None:
            raise web.HTTPNotFound(reason="the record is no longer in memory")
        return _answer(found)

    async def list_letters(self, _request: web.Request) -> web.Response:
        """Answer with the open dead letters in groups."""
        async with self._letters_lock:
            letters, is_complete = await self._console.letters.list_open()
        return _answer({"groups": group_letters(letters), "num_letters": len(letters), "is_complete": is_complete})

    async def replay(self, request: web.Request) -> web.Response:
        """Replay the named dead letters, if the request has the token."""
        token = self._console.replay_token
        if token is None:
            raise web.HTTPForbidden(reason="replays are off: start the console with --allow-replay")
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
            raise web.HTTPUnauthorized(reason="the token is wrong: take the one that the console printed, or that of --token-file")
        names = (await _read_body(request)).get("names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not 0 < len(names) <= _MAX_REPLAYED:
            raise web.HTTPBadRequest(reason=f"names must be a list of 1 to {_MAX_REPLAYED} dead letters, such as 0@17")
        async with self._letters_lock:
            return _answer({"message": await self._console.letters.replay(names)})

    async def infer(self, request: web.Request) -> web.Response:
        """Answer with the results of a text and the most similar records."""
        return _answer(await self._search.try_text(_read_text(await _read_body(request))))

    async def search(self, request: web.Request) -> web.Response:
        """Answer with the records nearest to a text or to a record."""
        body = await _read_body(request)
        if "record" in body:
            return _answer(self._search.find_similar(_read_place(body["record"])))
        return _answer(await self._search.search_text(_read_text(body)))


async def _read_body(request: web.Request) -> dict[str, Any]:
    # A form of another page cannot send this type without a request for permission, which is refused.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="the content type must be application/json")
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise web.HTTPBadRequest(reason="the body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(reason="the body must be a JSON object")
    return body


def _read_text(body: Mapping[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str) or not text.strip():
        raise web.HTTPBadRequest(reason="text must be a string that is not blank")
    if len(text) > _MAX_TEXT_CHARS:
        raise web.HTTPBadRequest(reason=f"text has {len(text)} characters; at most {_MAX_TEXT_CHARS} are accepted")
    return text


def _read_place(fields: Any) -> Place:
    try:
        return str(fields["topic"]), int(fields["partition"]), int(fields["offset"])
    except (KeyError, TypeError, ValueError):
        raise web.HTTPBadRequest(reason="record must have topic, partition and offset") from None


def _read_host_name(host: str) -> str:
    """Return the name of a `Host` header without its port."""
    return host[1 : host.find("]")] if host.startswith("[") else host.rpartition(":")[0] or host


def _answer(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _fail(status: int, reason: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"error": reason}), content_type="application/json")

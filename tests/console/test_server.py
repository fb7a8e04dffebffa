"""The HTTP server of the console: page, policy, events, requests and their errors."""

from __future__ import annotations

import asyncio
import io
import re
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import orjson
import pytest
from aiohttp import web

import worker.console.server
from tests.console.serving import serve
from worker.console.inference import InferenceEndpoint
from worker.console.live_view import LiveView
from worker.console.record_store import RecordStore
from worker.console.server import Console, build_application
from worker.errors import BrokerUnavailable
from worker.records import Output, Partition, Record, Task
from worker.wire.decode import Limits
from worker.wire.mapping import InputMapping, build_decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

STATIC = Path(worker.console.__file__).parent / "static"
LETTER = {"letter": "0@1", "stage": "decode", "error": "InvalidRecord", "obstacle": None}


class Letters:
    """Dead letters with planted contents."""

    def __init__(self) -> None:
        self.replayed: list[str] = []
        self.failure: Exception | None = None

    async def list_open(self) -> tuple[list[dict[str, Any]], bool]:
        """Return two dead letters of one reason and one of another."""
        if self.failure:
            raise self.failure
        messages = ["no JSON at byte 7", "no JSON at byte 12", "no text"]
        return [LETTER | {"letter": f"0@{number}", "message": message} for number, message in enumerate(messages)], True

    async def replay(self, names: Sequence[str]) -> str:
        """Note the names."""
        self.replayed += names
        return f"{len(names)} replayed into texts"


def build_console(**options: Any) -> Console:
    """Return a console with one record."""
    decode = build_decoder(InputMapping(), limits=Limits(), tasks=frozenset(Task))
    store = RecordStore(outputs={"texts.embeddings": Output.EMBEDDINGS}, decode=decode, result_field="nlp")
    store.add(Record(Partition("texts", 0), 1, None, b'{"id": "id-1", "text": "<b>hello</b>"}', (), 1000))
    store.index.add(("texts", 0, 1), np.array([1, 0], np.float32), "m@1")
    return Console({"input_topics": ["texts"]}, store, LiveView([]), Letters(), **options)


@asynccontextmanager
async def client(console: Console) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve a console and yield a client of it."""
    async with serve(build_application(console)) as url, aiohttp.ClientSession(url) as session:
        yield session


async def post(session: aiohttp.ClientSession, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and JSON of an answer."""
    async with session.post(path, data=orjson.dumps(body), headers={"Content-Type": "application/json"} | headers) as answer:
        return answer.status, await answer.json()


async def test_every_answer_has_a_strict_policy() -> None:
    """Page, files, data and errors name the same policy, which permits nothing from elsewhere and nothing inline."""
    async with client(build_console()) as session:
        for path in ("/", "/static/app.js", "/api/console", "/api/events", "/no/such/page"):
            async with session.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "http" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_is_small_and_complete() -> None:
    """All files together have at most 300 kB, each import exists, and no file names another host or builds markup."""
    files = {file.name: file.read_text() for file in STATIC.iterdir()}
    assert sum(len(content.encode()) for content in files.values()) <= 300_000
    for name, content in files.items():
        for imported in re.findall(r'(?:from|import) "\./([\w.]+)"|/static/([\w.]+)"', content):
            assert (imported[0] or imported[1]) in files, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function| style=", content), name
        assert set(re.findall(r"https?://[\w.]+", content)) <= {"http://www.w3.org", "http://HOST"}, name
    async with client(build_console()) as session:
        for name, content in files.items():
            async with session.get(f"/static/{name}") as answer:
                assert (answer.status, await answer.text()) == (200, content)
                etag = answer.headers["ETag"]
            async with session.get(f"/static/{name}", headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304


@pytest.mark.parametrize("path", ["/static/..%2fserver.py", "/static/server.py", "/static/%2fetc%2fpasswd"])
async def test_no_other_file_is_served(path: str) -> None:
    """A name outside the page's files is not found."""
    async with client(build_console()) as session, session.get(path) as answer:
        assert answer.status == 404


async def test_a_foreign_host_name_is_refused() -> None:
    """A page of another host whose name leads to this address gets nothing, also for a console on loopback with a port."""
    async with client(build_console(host_names=frozenset({"127.0.0.1"}))) as session:
        for host, status in (("127.0.0.1:1", 200), ("127.0.0.1", 200), ("attacker.example", 403), ("[::1]:80", 403)):
            async with session.get("/api/console", headers={"Host": host}) as answer:
                assert answer.status == status


async def test_a_page_of_another_site_cannot_use_the_console() -> None:
    """A link to the page works; requests of such a page for data or events are refused."""
    async with client(build_console()) as session:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            for path in ("/api/dead-letters", "/api/events"):
                async with session.get(path, headers={"Sec-Fetch-Site": site}) as answer:
                    assert answer.status == status
            async with session.get("/", headers={"Sec-Fetch-Site": site}) as answer:
                assert answer.status == 200


async def read_event(answer: aiohttp.ClientResponse) -> tuple[str, Any]:
    """Return the name and the value of the next event."""
    async with asyncio.timeout(20):
        name = (await answer.content.readline()).decode().strip().removeprefix("event: ")
        value = orjson.loads((await answer.content.readline()).removeprefix(b"data: "))
        await answer.content.readline()
    return name, value


async def test_events_start_with_the_state() -> None:
    """A new page gets the records in memory and the series, and then each event."""
    console = build_console()
    console.live.take_sample(100.0)
    async with client(console) as session, session.get("/api/events") as answer:
        assert answer.content_type == "text/event-stream"
        name, value = await read_event(answer)
        assert (name, [row["text"] for row in value["rows"]]) == ("records", ["<b>hello</b>"])
        name, value = await read_event(answer)
        assert (name, value["t"]) == ("history", [100.0])
        console.hub.publish("live", {"t": 1})
        assert await read_event(answer) == ("live", {"t": 1})


async def test_a_page_too_many_is_refused() -> None:
    """The number of open pages is bounded, and a page that left makes room."""
    console = build_console()
    console.hub._max_subscriptions = 1
    async with client(console) as session:
        async with session.get("/api/events"), session.get("/api/events") as answer:
            assert answer.status == 503
        while len(console.hub):
            console.hub.publish("live", 1)
            await asyncio.sleep(0)


async def test_a_page_that_reads_nothing_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections would else refuse every further page."""
    monkeypatch.setattr(worker.console.server, "_SEND_TIMEOUT_S", 0.1)
    console = build_console()
    async with serve(build_application(console)) as url:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            silent.connect(("127.0.0.1", urlsplit(url).port))
            silent.sendall(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n")
            while not len(console.hub):  # noqa: ASYNC110  the hub has no event for tests
                await asyncio.sleep(0.001)
            for _ in range(10):
                console.hub.publish("records", "a" * 1_000_000)
            while len(console.hub):  # noqa: ASYNC110  the same
                await asyncio.sleep(0.001)


async def test_details_of_a_record() -> None:
    """A record in memory has details; another is not found."""
    async with client(build_console()) as session:
        async with session.get("/api/records/texts/0/1") as answer:
            assert (await answer.json())["source"]["value"] == '{"id": "id-1", "text": "<b>hello</b>"}'
        async with session.get("/api/records/texts/0/2") as answer:
            assert (answer.status, await answer.json()) == (404, {"error": "the record is no longer in memory"})


async def test_dead_letters_are_grouped_by_stage_and_reason() -> None:
    """Reasons that differ in numbers are one group, with advice; a failure of the brokers is one line."""
    console = build_console()
    async with client(console) as session:
        async with session.get("/api/dead-letters") as answer:
            groups = (await answer.json())["groups"]
        assert [(group["reason"], len(group["letters"])) for group in groups] == [("no JSON at byte …", 2), ("no text", 1)]
        assert all("wire contract" in group["advice"] for group in groups)
        assert isinstance(console.letters, Letters)
        console.letters.failure = BrokerUnavailable("no broker answers")
        async with session.get("/api/dead-letters") as answer:
            assert (answer.status, await answer.json()) == (503, {"error": "no broker answers"})


async def test_a_replay_needs_permission_and_token() -> None:
    """Without --allow-replay, with a wrong token or without names nothing is sent."""
    letters = Letters()
    off, on = build_console(), build_console(replay_token="secret")  # noqa: S106  a token of this test
    off.letters = on.letters = letters
    path, body = "/api/dead-letters/replay", {"names": ["0@1"]}
    async with client(off) as session:
        assert (await post(session, path, body, Authorization="Bearer secret"))[0] == 403
    async with client(on) as session:
        for token in ("Bearer wrong", "", "Bearer sécret"):
            assert (await post(session, path, body, Authorization=token))[0] == 401
        wrong_bodies: list[dict[str, Any]] = [{}, {"names": []}, {"names": [1]}, {"names": "0@1"}, {"names": ["0@1"] * 10_001}]
        for wrong in wrong_bodies:
            assert (await post(session, path, wrong, Authorization="Bearer secret"))[0] == 400
        assert letters.replayed == []
        status, answer = await post(session, path, body, Authorization="Bearer secret")
        assert (status, answer) == (200, {"message": "1 replayed into texts"})
        assert letters.replayed == ["0@1"]


async def test_a_token_that_is_not_utf8_is_wrong() -> None:
    application = build_application(build_console(replay_token="secret"))  # noqa: S106  a token of this test
    async with serve(application) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(
            b"POST /api/dead-letters/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nAuthorization: Bearer \xff\r\n\r\n"
        )
        assert (await reader.readline()).split()[1] == b"401"
        writer.close()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"text": ""}', {}, 400),
        (b'{"text": 7}', {}, 400),
        (b'{"text": "\xff"}', {}, 400),
        (orjson.dumps({"text": "a" * 20_001}), {}, 400),
        (b'{"text": "a"}', {"Content-Type": "text/plain"}, 415),
        (b'{"record": {"topic": "texts"}}', {}, 400),
        (b'{"record": 7}', {}, 400),
        (b'{"record": {"topic": "texts", "partition": 0, "offset": 9}}', {}, 404),
        (b'{"text": "a"}', {}, 409),
        (b" " * 1_100_000, {}, 413),
    ],
)
async def test_bad_requests_have_one_line(body: bytes, headers: dict[str, str], status: int) -> None:
    """Each bad request has its status and one line, without a stack."""
    async with (
        client(build_console()) as session,
        session.post("/api/search", data=io.BytesIO(body), headers={"Content-Type": "application/json"} | headers) as answer,
    ):
        assert answer.status == status
        assert len((await answer.json())["error"].splitlines()) == 1


async def test_records_similar_to_a_record_need_no_endpoint() -> None:
    """The search by a record uses the vectors in memory and leaves the record itself out."""
    console = build_console()
    console.store.add(Record(Partition("texts", 0), 2, None, b'{"text": "similar"}'))
    console.store.index.add(("texts", 0, 2), np.array([0.6, 0.8], np.float32), "m@1")
    async with client(console) as session:
        status, answer = await post(session, "/api/search", {"record": {"topic": "texts", "partition": 0, "offset": 1}})
    assert status == 200
    assert [(found["record"]["text"], found["cosine"]) for found in answer["found"]] == [("similar", 0.6)]


async def list_models(_request: web.Request) -> web.Response:
    """List two models, as during a rollout."""
    return web.json_response({"data": [{"id": "m@2"}, {"id": "m@1"}]})


async def test_both_models_of_a_rollout_answer() -> None:
    """A typed text has the results of each loaded model, and the similar records of this model; a query uses the query prompt."""
    asked: list[dict[str, Any]] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append(await request.json())
        if "prompt" in asked[-1]:
            return web.json_response({"error": {"message": "there is no prompt query"}}, status=400)
        model = {"default": "m@1"}.get(asked[-1]["model"], asked[-1]["model"])
        embedding = {"id": "0", "embedding": [1.0, 0.0], "dim": 2, "encoding": "float"}
        return web.json_response({"model": model, "results": [{"embeddings": embedding, "tokens": 2, "truncated": False}]})

    application = web.Application()
    application.router.add_get("/v1/models", list_models)
    application.router.add_post("/v1/infer", infer)
    async with serve(application) as url:
        endpoint = InferenceEndpoint(url, "a-token")
        async with client(build_console(endpoint=endpoint, read_tokens=str.split)) as session:
            _, tried = await post(session, "/api/infer", {"text": "hello world"})
            _, found = await post(session, "/api/search", {"text": "hello"})
    assert [(answer["model"], len(answer["similar"]), answer["tokens"]) for answer in tried["answers"]] == [
        ("m@2", 0, ["hello", "world"]),
        ("m@1", 1, ["hello", "world"]),
    ]
    assert [entry["record"]["text"] for entry in found["found"]] == ["<b>hello</b>"]
    assert [body.get("prompt") for body in asked] == [None, None, "query", None]


async def test_several_encoders_find_the_records_of_the_encoder_that_embeds() -> None:
    """An answer of several encoders names all of them; the records are those of the encoder of the vector."""

    async def infer(request: web.Request) -> web.Response:
        model = "m@1" if (await request.json()).get("tasks") == ["embed"] else "m@1,n@1"
        embedding = {"id": "0", "embedding": [1.0, 0.0], "dim": 2, "encoding": "float"}
        return web.json_response({"model": model, "results": [{"embeddings": embedding, "tokens": 2, "truncated": False}]})

    async def list_joint(_request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name, "group": "m@1,n@1"} for name in ("m@1", "n@1")]})

    application = web.Application()
    application.router.add_get("/v1/models", list_joint)
    application.router.add_post("/v1/infer", infer)
    async with serve(application) as url, client(build_console(endpoint=InferenceEndpoint(url))) as session:
        _, tried = await post(session, "/api/infer", {"text": "hello world"})
        _, found = await post(session, "/api/search", {"text": "hello"})
    assert [(answer["model"], len(answer["similar"])) for answer in tried["answers"]] == [("m@1,n@1", 1)]
    assert [entry["record"]["text"] for entry in found["found"]] == ["<b>hello</b>"]


async def test_a_slow_or_failing_endpoint_is_one_line() -> None:
    """An endpoint that refuses, answers without results or is not there gives status 502 and its reason."""

    async def answer_badly(request: web.Request) -> web.Response:
        text = (await request.json())["texts"][0]
        if text == "refused":
            return web.json_response({"error": {"message": "too many requests"}}, status=429)
        return web.Response(body=b"<html>" if text == "html" else b'{"results": []}')

    application = web.Application()
    application.router.add_get("/v1/models", list_models)
    application.router.add_post("/v1/infer", answer_badly)
    async with serve(application) as url, client(build_console(endpoint=InferenceEndpoint(url))) as session:
        for text, words in (("refused", "429: too many requests"), ("html", "no results"), ("empty", "no results")):
            status, answer = await post(session, "/api/infer", {"text": text})
            assert status == 502
            assert answer["error"].endswith(words)
    async with client(build_console(endpoint=InferenceEndpoint(url))) as session:
        status, answer = await post(session, "/api/infer", {"text": "a"})
        assert status == 502
        assert "cannot be reached" in answer["error"]

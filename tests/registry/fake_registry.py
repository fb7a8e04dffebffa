"""A schema registry in memory with the part of Confluent's REST API that the worker uses, and with faults."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

if TYPE_CHECKING:
    import ssl


class FakeRegistry:
    """Use the object as an asynchronous context manager; `url` is its address."""

    def __init__(self, *, ssl_context: ssl.SSLContext | None = None, authorization: str | None = None) -> None:
        self._ssl_context, self._authorization = ssl_context, authorization
        self._runner: web.AppRunner | None = None
        self.url = ""
        # The bodies of the schemas by id, and the ids by subject in the order of their versions.
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        # The paths that were asked for.
        self.asked: list[str] = []
        self.arrived = asyncio.Event()
        # A status that every request gets; None for none.
        self.fault: int | None = None
        # Requests wait for this event.
        self.released = asyncio.Event()
        self.released.set()
        # The serialized descriptors of schemas in base64, by id; other schemas have no other format.
        self.serialized: dict[int, str] = {}
        # The body of each answer; None for none.
        self.raw: bytes | None = None

    def add(self, schema: Any, *, kind: str = "AVRO", subject: str = "s", references: list[dict[str, Any]] | None = None) -> int:
        """Register a schema; return its id."""
        body: dict[str, Any] = {"schema": schema if isinstance(schema, str) else json.dumps(schema)}
        body |= {"schemaType": kind} if kind != "AVRO" else {}
        body |= {"references": references} if references else {}
        found = next((number for number, known in self.schemas.items() if known == body), len(self.schemas) + 1)
        self.schemas[found] = body
        self.subjects.setdefault(subject, []).append(found)
        return found

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._check])
        app.add_routes(
            [
                web.get("/schemas/types", self._types),
                web.get("/schemas/ids/{id}", self._by_id),
                web.get("/subjects/{subject}/versions/{version}", self._by_version),
                web.post("/subjects/{subject}", self._look_up),
                web.post("/subjects/{subject}/versions", self._register),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._ssl_context)
        await site.start()
        scheme = "https" if self._ssl_context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _check(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        self.arrived.set()
        await self.released.wait()
        if self._authorization is not None and request.headers.get("Authorization") != self._authorization:
            return web.json_response({"error_code": 401, "message": "Unauthorized"}, status=401)
        if self.fault is not None:
            return web.Response(status=self.fault, text="fault")
        if self.raw is not None:
            return web.Response(body=self.raw)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _types(self, _request: web.Request) -> web.Response:
        return web.json_response(["JSON", "PROTOBUF", "AVRO"])

    async def _by_id(self, request: web.Request) -> web.Response:
        return self._format(request, int(request.match_info["id"]))

    async def _by_version(self, request: web.Request) -> web.Response:
        ids, version = self.subjects.get(request.match_info["subject"], []), request.match_info["version"]
        number = len(ids) if version == "latest" else int(version)
        return self._format(request, ids[number - 1] if 0 < number <= len(ids) else 0)

    def _format(self, request: web.Request, schema_id: int) -> web.Response:
        found = self.schemas.get(schema_id)
        is_serialized = request.query.get("format") == "serialized" and schema_id in self.serialized
        return _answer({**found, "schema": self.serialized[schema_id]} if found and is_serialized else found)

    async def _look_up(self, request: web.Request) -> web.Response:
        given = await request.json()
        ids = self.subjects.get(request.match_info["subject"], [])
        found = next((number for number in ids if self.schemas[number]["schema"] == given["schema"]), None)
        return _answer(None if found is None else {"id": found})

    async def _register(self, request: web.Request) -> web.Response:
        given = await request.json()
        if given["schema"] == "incompatible":
            return web.json_response({"error_code": 409, "message": "it is incompatible"}, status=409)
        return web.json_response({"id": self.add(given["schema"], kind=given["schemaType"], subject=request.match_info["subject"])})


def _answer(found: dict[str, Any] | None) -> web.Response:
    return web.json_response(found) if found else web.json_response({"error_code": 40403, "message": "not found"}, status=404)

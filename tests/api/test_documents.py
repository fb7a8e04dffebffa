"""The documents of the endpoint describe its routes, and answers follow them."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests.api.endpoint import Endpoint
from worker.api.documents import build_openapi


@pytest.mark.parametrize("path", build_openapi()["paths"])
async def test_an_answer_follows_its_schema(path: str) -> None:
    """The example of each route has an answer of the documented form, and so has an error."""
    document = build_openapi()
    ((method, operation),) = document["paths"][path].items()
    async with Endpoint().running() as client:
        response = await client.request(
            method, path, json=operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        )
        assert response.status == 200
        _validate(await response.json(), operation, "200", document)
        if method == "post":
            wrong = await client.post(path, data=b"{")
            _validate(await wrong.json(), operation, str(wrong.status), document)


def _validate(value: Any, operation: dict[str, Any], status: str, document: dict[str, Any]) -> None:
    schema = operation["responses"][status]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(value)


async def test_the_page_loads_nothing_from_other_hosts() -> None:
    async with Endpoint().running() as client:
        for path, kind in (("/docs", "text/html"), ("/docs.js", "text/javascript"), ("/docs.css", "text/css")):
            response = await client.get(path)
            assert (response.status, response.content_type) == (200, kind)
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert "://" not in await response.text()
        assert (await (await client.get("/openapi.json")).json()) == build_openapi()

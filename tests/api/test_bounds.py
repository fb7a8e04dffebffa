"""The bounds of the endpoint: texts in flight, time, size, clients that go away, and requests that are no HTTP."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import numpy as np
import orjson
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from schemas.api import EmbeddingsRequest, EmbedRequest, InferRequest, PredictRequest
from tests.api.endpoint import Endpoint, Gate, until
from worker.batches import LIVE_PASS


async def test_a_request_above_the_bound_gets_429_and_later_one_gets_an_answer() -> None:
    endpoint = Endpoint(api_max_texts=2, api_max_queued_texts=2)
    async with endpoint.running() as client:
        endpoint.model.on_infer = (gate := Gate()).wait
        first = asyncio.create_task(client.post("/v1/embeddings", json={"input": ["a", "b"]}))
        await until(lambda: endpoint.queries.num_texts == 2)
        for route, body in (("/v1/embeddings", {"input": "c"}), ("/embed", {"inputs": "c"})):
            refused = await client.post(route, json=body)
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        gate.is_open.set()
        assert (await first).status == 200
        assert (await client.post("/v1/embeddings", json={"input": "c"})).status == 200
        assert endpoint.count("/embed", 429) == 1


async def test_a_late_answer_is_504_and_a_client_that_goes_away_is_499_and_both_free_their_places() -> None:
    endpoint = Endpoint(timeout_s=1.0)
    async with endpoint.running() as client:
        endpoint.model.on_infer = (gate := Gate()).wait
        response = await client.post("/v1/embeddings", json={"input": ["a", "b"]})
        assert (response.status, (await response.json())["error"]["code"]) == (504, "timeout")
        assert endpoint.queries.num_texts == 0
        gate.is_open.set()
    endpoint = Endpoint()
    async with endpoint.running() as client:
        endpoint.model.on_infer = (gate := Gate()).wait
        held = asyncio.create_task(client.post("/v1/embeddings", json={"input": "a"}))
        await until(gate.is_reached.is_set)
        queued = asyncio.create_task(client.post("/v1/embeddings", json={"input": ["b", "c"]}))
        await until(lambda: len(endpoint.lane) == 2)
        queued.cancel()
        await until(lambda: endpoint.queries.num_texts == 1)
        assert len(endpoint.lane) == 0
        assert endpoint.count("/v1/embeddings", 499) == 1
        gate.is_open.set()
        assert (await held).status == 200


async def test_texts_of_clients_wait_outside_of_the_lane_beyond_one_batch() -> None:
    """The fake model has one pass at a time, so that two batches of four tokens are in the lane and in the pass."""
    endpoint = Endpoint(max_batch_tokens=256, max_batch_delay_ms=0)
    async with endpoint.running() as client:
        endpoint.model.on_infer = (gate := Gate()).wait
        text = "word " * 64
        requests = [asyncio.create_task(client.post("/v1/embeddings", json={"input": [text] * 8})) for _ in range(3)]
        await until(lambda: endpoint.queries.num_texts == 24 and endpoint.queries._num_tokens == 512)
        gate.is_open.set()
        assert [(await request).status for request in requests] == [200] * 3
        assert sum(endpoint.model.passes) == 24
        assert endpoint.queries._num_tokens == 0


async def test_a_drain_answers_what_is_in_flight_and_refuses_the_rest() -> None:
    endpoint = Endpoint()
    async with endpoint.running() as client:
        endpoint.model.on_infer = (gate := Gate()).wait
        held = asyncio.create_task(client.post("/v1/embeddings", json={"input": "a"}))
        await until(gate.is_reached.is_set)
        drained = asyncio.create_task(endpoint.queries.drain())
        await until(lambda: endpoint.queries._is_draining)
        response = await client.post("/v1/embeddings", json={"input": "b"})
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        gate.is_open.set()
        assert (await held).status == 200
        await drained


async def test_a_client_may_wait_for_the_invitation_to_send_its_body() -> None:
    """A refused request gets its error instead."""
    async with Endpoint().running() as client:
        assert (await client.post("/embed", json={"inputs": "a"}, expect100=True)).status == 200
        assert (await client.post("/nowhere", json={"inputs": "a"}, expect100=True)).status == 404


async def test_a_client_of_http_1_0_gets_its_answer_without_an_interim_answer() -> None:
    """RFC 9110, section 10.1.1: a server ignores `Expect` in such a request."""
    endpoint = Endpoint()
    async with endpoint.running():
        head = b"POST /embed HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 14\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.port)
        writer.write(head + b'{"inputs":"a"}')
        assert (await reader.read()).startswith(b"HTTP/1.0 200")
        writer.close()
        await writer.wait_closed()


async def test_documents_have_heads() -> None:
    async with Endpoint().running() as client:
        head, refused = await client.head("/docs"), await client.head("/embed")
        assert (head.status, await head.read(), refused.status) == (200, b"", 405)


async def test_a_refused_method_names_the_accepted_methods() -> None:
    """RFC 9110, section 15.5.6: an answer with status 405 has the header `Allow`."""
    async with Endpoint().running() as client:
        embed, models = await client.get("/embed"), await client.post("/v1/models")
        assert (embed.status, embed.headers["Allow"]) == (405, "POST")
        assert (models.status, models.headers["Allow"]) == (405, "GET, HEAD")


async def test_large_slow_and_half_open_requests_end() -> None:
    async with Endpoint(api_max_body_bytes=1024).running() as client:
        large = await client.post("/embed", data=b"x" * 2000)
        assert (large.status, (await large.json())["error_type"]) == (413, "Validation")
    endpoint = Endpoint(timeout_s=0.2)
    async with endpoint.running():
        for content in (
            b"",
            b"POST /embed HTTP/1.1\r\nHost: x\r\n",
            b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.port)
            writer.write(content)
            answer = await reader.read()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize(
    "content",
    [
        b"secret /embed HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nsecret: \x0b\r\n\r\n",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Encoding: deflate\r\nContent-Length: 6\r\n\r\nx\x9csecr",
        b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\nsecret",
    ],
)
async def test_a_request_that_is_no_http_gets_one_line_of_json_without_its_content(content: bytes) -> None:
    endpoint = Endpoint()
    async with endpoint.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.server.port)
        writer.write(content)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    status = head.split(b" ", 2)[1].decode()
    assert status in {"400", "422"}
    assert b"secr" not in body
    assert "error" in orjson.loads(body)
    counted = {"route": "/embed" if status == "422" else "invalid", "status": status}
    assert endpoint.telemetry.registry.get_sample_value("gist_api_requests_total", counted) == 1


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Content-Encoding": "rot13"}, 415, "this Content-Encoding is not supported: send gzip, deflate or none"),
        ({"Expect": "a miracle"}, 417, "the header Expect may only be 100-continue: leave the header out"),
    ],
)
async def test_an_unknown_encoding_or_expectation_is_refused_by_its_own_status(
    headers: dict[str, str], status: int, reason: str
) -> None:
    async with Endpoint().running() as client:
        response = await client.post("/v1/embeddings", data=b'{"input":"a"}', headers=headers)
        assert (response.status, (await response.json())["error"]["message"]) == (status, reason)
        known = await client.post("/v1/embeddings", data=b'{"input":"a"}', headers={"Content-Encoding": "identity"})
        assert known.status == 200


_HEADS = (
    b"",
    b"GET /v1/models HTTP/1.1\r\n",
    b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20\r\n\r\n",
    b"POST /v1/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
)
_REQUESTS = st.builds(lambda head, rest: head + rest, st.sampled_from(_HEADS), st.binary(min_size=20, max_size=80))


@settings(max_examples=5, deadline=None)
@given(requests=st.lists(_REQUESTS, min_size=20, max_size=20))
def test_any_bytes_get_an_error_without_a_traceback_and_without_a_line_in_the_log(requests: list[bytes]) -> None:
    with structlog.testing.capture_logs() as logs:
        answers = asyncio.run(_send(requests))
    assert not logs
    for answer in answers:
        assert b"Traceback" not in answer
        assert answer == b"" or int(answer.split(b" ", 2)[1]) in {400, 404, 405, 408, 413, 431, 501, 504}


async def _send(requests: list[bytes]) -> list[bytes]:
    endpoint = Endpoint(timeout_s=0.2)
    async with endpoint.running():
        answers = await asyncio.gather(*(_exchange(endpoint.server.port, content) for content in requests))
    assert not endpoint.bugs
    return answers


async def _exchange(port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        writer.write_eof()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'"x"', b"\xff", b'{"inputs": "\\ud800"}', b"[" * 5000, b'{"inputs": {"a": "secret"}}']
)
async def test_a_malformed_body_gets_one_line_without_its_content(content: bytes) -> None:
    endpoint = Endpoint()
    async with endpoint.running() as client:
        response = await client.post("/embed", data=content)
        error = (await response.json())["error"]
        assert response.status == 422
        assert "\n" not in error
        assert "secret" not in error


async def test_an_unexpected_exception_is_500_and_only_its_class_is_reported() -> None:
    endpoint = Endpoint()
    async with endpoint.running() as client:
        endpoint.model.on_tokenize = lambda _texts: _fail()
        response = await client.post("/v1/embeddings", json={"input": "secret"})
        body = await response.text()
        assert (response.status, endpoint.bugs) == (500, ["/v1/embeddings: KeyError('secret')"])
        assert "secret" not in body


def _fail() -> None:
    raise KeyError("secret")


async def test_a_worker_that_has_stopped_ends_requests_in_flight() -> None:
    endpoint = Endpoint()
    async with endpoint.running() as client:
        endpoint.model.on_infer = (gate := Gate()).wait
        held = asyncio.create_task(client.post("/v1/embeddings", json={"input": "a"}))
        await until(gate.is_reached.is_set)
        endpoint.queries.stop()
        assert (await held).status == 503
        gate.is_open.set()


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (EmbeddingsRequest, {"input": [1] * 1_000}),
        (EmbedRequest, {"inputs": [1] * 1_000}),
        (PredictRequest, {"inputs": [[1] * 1_000] * 1_000}),
        (InferRequest, {"texts": [1] * 1_000}),
        (InferRequest, {"records": [1] * 1_000}),
        (InferRequest, {"texts": ["a"], "tasks": ["x"] * 1_000}),
    ],
)
def test_the_first_invalid_entry_ends_the_validation_of_a_list(model: type[BaseModel], body: dict[str, object]) -> None:
    """A million errors would take a gigabyte, and stop the event loop for seconds."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    assert caught.value.error_count() <= 3


async def test_a_body_with_too_many_fields_is_refused_before_its_validation() -> None:
    async with Endpoint().running() as client:
        response = await client.post("/v1/infer", json={f"field_{number}": 1 for number in range(65)})
        assert response.status == 400
        assert (await response.json())["error"]["message"] == "the body has 65 fields; at most 64 are accepted"


async def test_a_client_that_does_not_read_its_answer_loses_its_connection() -> None:
    """The answer is longer than the buffers of the kernel, and would stay in memory as long as the client wants."""
    endpoint = Endpoint(timeout_s=0.5)
    infer = endpoint.model.infer
    long = np.ones(8_192, np.float32)
    endpoint.model.infer = lambda items, context=LIVE_PASS: [replace(one, embedding=long) for one in infer(items, context)]  # type: ignore[method-assign]
    async with endpoint.running() as client:
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            silent.connect(("127.0.0.1", endpoint.server.port))
            body = orjson.dumps({"input": ["a"] * 256})
            head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            silent.sendall(head % len(body) + body)
            await until(lambda: endpoint.count("/v1/embeddings", 200) == 1)
            runner = endpoint.server._runner
            assert runner is not None
            await until(lambda: not (runner.server and runner.server.connections))
        assert (await client.get("/v1/models")).status == 200

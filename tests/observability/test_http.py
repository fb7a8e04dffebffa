"""The HTTP endpoints for orchestrators and Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest

from worker.errors import BadSettings
from worker.observability.http import HttpServer, build_metrics_page, build_probe
from worker.observability.metrics import WorkerTelemetry

if TYPE_CHECKING:
    from pathlib import Path


class Health:
    """Health checks with planted results."""

    def __init__(self) -> None:
        self.live: str | None = None
        self.ready: str | None = "not yet"

    def server(self, *, host: str = "127.0.0.1", port: int = 0) -> HttpServer:
        """Return a server that uses these health checks."""
        return HttpServer(
            address=(host, port),
            metrics=build_metrics_page(WorkerTelemetry().registry),
            is_live=build_probe(lambda: self.live),
            is_ready=build_probe(lambda: self.ready),
        )


async def get(server: HttpServer, path: str) -> tuple[int, str, str]:
    """Return the status, content type and body of a response."""
    url = f"http://127.0.0.1:{server.port}/{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, answer.content_type, await answer.text()


async def test_the_checks_are_asked_each_time() -> None:
    """A healthy check returns 200, and an unhealthy check 503 with the reason."""
    health = Health()
    async with health.server() as server:
        assert (await get(server, "livez"))[::2] == (200, "ok\n")
        assert (await get(server, "readyz"))[::2] == (503, "not yet\n")
        health.ready, health.live = None, "stuck"
        assert (await get(server, "livez"))[::2] == (503, "stuck\n")
        assert (await get(server, "readyz"))[::2] == (200, "ok\n")


async def test_the_root_lists_the_endpoints() -> None:
    """`/` names each endpoint, and each endpoint answers."""
    health = Health()
    health.ready = None
    async with health.server() as server:
        status, _, body = await get(server, "")
        names = [line.split()[0].removeprefix("/") for line in body.splitlines()]
        assert (status, names) == (200, ["metrics", "readyz", "livez"])
        assert [(await get(server, name))[0] for name in names] == [200, 200, 200]


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"HEAD /livez", b"200"),
        (b"GET /readyz?verbose", b"503"),
        (b"GET /secret", b"404"),
        (b"POST /metrics", b"405"),
        (b"\xff", b"405"),
    ],
)
async def test_other_requests_have_a_status(request_head: bytes, status: bytes) -> None:
    """The connection ends after one response; a response to HEAD has no body."""
    async with Health().server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request_head + b" HTTP/1.1\r\nHost: worker\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.split()[1] == status
    assert bool(body) is (status in {b"503", b"404"})


async def test_a_request_without_an_end_is_bounded() -> None:
    """The server closes the connection of a client that sends more than the head of a request."""
    async with Health().server() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /" + b"x" * 100_000)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_the_metrics_are_prometheus_text() -> None:
    async with Health().server() as server:
        status, content_type, body = await get(server, "metrics")
    assert (status, content_type) == (200, "text/plain")
    assert "# HELP gist_tokens_total" in body


def test_a_worker_imports_no_package_for_settings_that_are_off() -> None:
    """Neither the web framework of queries, the formats of a registry, the other protocol of groups nor rich delays a start."""
    program = (
        "import sys, worker.cli, worker.commands.run.process, worker.commands.run.run as run; run.import_flow('at_least_once'); "
        "sys.exit(' '.join({'aiohttp', 'fastavro', 'google.protobuf', 'opentelemetry', 'rich', 'schemas', 'torch', "
        "'worker.broker.delivery.exactly_once', 'worker.broker.membership.group_member', 'worker.wire.registered.avro'} "
        "& set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert ended.stderr.strip() == ""


async def test_a_port_that_is_taken_is_a_bad_setting() -> None:
    """The error is one line with the port."""
    async with Health().server() as server:
        with pytest.raises(BadSettings, match=rf"GIST_HTTP_PORT: the worker cannot listen at 127\.0\.0\.1:{server.port}"):
            async with Health().server(port=server.port):
                pass


async def test_a_socket_answers_as_a_port_does(tmp_path: Path) -> None:
    """A socket that cannot be created raises `BadSettings`."""
    path = tmp_path / "replica.sock"
    async with (
        Health().server(host=f"unix:{path}") as server,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get("http://anywhere/livez") as answer,
    ):
        assert (answer.status, server.address) == (200, f"unix:{path}")
    with pytest.raises(BadSettings, match="GIST_HTTP_HOST: the worker cannot listen at unix:/nowhere"):
        async with Health().server(host="unix:/nowhere/x.sock"):
            pass


@pytest.mark.parametrize(
    "host", ["no-such-host.invalid", "a" * 70 + ".example", "a..b", "192.0.2.1", "localhost:8080", "unix:", "unix:/" + "d" * 200]
)
async def test_a_host_where_nothing_can_listen_is_a_bad_setting(host: str) -> None:
    """The line names the setting of the host and the reason."""
    with pytest.raises(BadSettings, match=r"^GIST_HTTP_HOST: ") as caught:
        async with Health().server(host=host):
            pass
    assert "None" not in str(caught.value)
    assert "\n" not in str(caught.value)

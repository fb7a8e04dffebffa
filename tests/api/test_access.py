"""Access to the endpoint: tokens, TLS and pages of other origins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from tests.api.endpoint import Endpoint
from worker.api.server import read_certificate
from worker.api.tokens import TokenFile
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """A clock that the test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


async def test_requests_need_a_token_and_documents_do_not(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# of the search\nfirst\n\nsecond\n")
    endpoint = Endpoint(tokens=TokenFile(file, print))
    async with endpoint.running() as client:
        for sent, status in (
            ("", 401),
            ("Bearer third", 401),
            ("Basic first", 401),
            ("Bearer ", 401),
            ("bearer second", 200),
            ("Bearer first", 200),
        ):
            response = await client.get("/v1/models", headers={"Authorization": sent})
            assert response.status == status, sent
        refused = await client.post("/embed", json={"inputs": "a"})
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert [(await client.get(path)).status for path in ("/docs", "/docs.js", "/docs.css", "/openapi.json")] == [200] * 4
        assert endpoint.count("/v1/models", 401) == 4


def test_tokens_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    """Tokens come and go with the file. While the file is missing, the previous tokens stay valid, with one warning."""
    file, clock, warnings = tmp_path / "tokens", Clock(), list[str]()
    file.write_text("first\n")
    tokens = TokenFile(file, warnings.append, clock=clock)
    file.write_text("second\n")
    assert tokens.accepts("Bearer first")
    clock.now_s = 2.0
    assert (tokens.accepts("Bearer first"), tokens.accepts("Bearer second")) == (False, True)
    file.unlink()
    for clock.now_s in (4.0, 6.0):
        assert tokens.accepts("Bearer second")
    assert warnings == [f"GIST_API_TOKENS_FILE: {file}: No such file or directory; the previous tokens stay valid"]
    file.write_text("")
    clock.now_s = 8.0
    assert not tokens.accepts("Bearer second")


def test_a_token_file_without_tokens_or_a_missing_one_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="No such file"):
        TokenFile(tmp_path / "missing", print)
    (tmp_path / "empty").write_text("# none\n")
    with pytest.raises(BadSettings, match="has no token"):
        TokenFile(tmp_path / "empty", print)


async def test_tls_and_its_bad_files(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert, key, other = (tmp_path / name for name in ("tls.crt", "tls.key", "other.key"))
    certificate.cert_chain_pems[0].write_to_path(os.fspath(cert))
    certificate.private_key_pem.write_to_path(os.fspath(key))
    authority.issue_cert("other").private_key_pem.write_to_path(os.fspath(other))
    endpoint = Endpoint(tls=read_certificate(str(cert), str(key)))
    async with endpoint.running() as client:
        assert (await client.get(f"{endpoint.server.address}/v1/models", ssl=False)).status == 200
    for bad in (other, tmp_path / "missing", tmp_path):
        with pytest.raises(BadSettings, match="GIST_API_TLS_CERT_FILE"):
            read_certificate(str(cert), str(bad))


async def test_pages_of_other_origins_are_refused_unless_they_are_named() -> None:
    origin = {"Origin": "https://search.example.com"}
    async with Endpoint().running() as client:
        assert "Access-Control-Allow-Origin" not in (await client.get("/v1/models", headers=origin)).headers
        assert (await client.options("/embed", headers=origin)).status == 405
    async with Endpoint(cors=["https://search.example.com"]).running() as client:
        preflight = await client.options("/embed", headers=origin)
        assert (preflight.status, preflight.headers["Access-Control-Allow-Origin"]) == (204, "https://search.example.com")
        other = await client.get("/v1/models", headers={"Origin": "https://other.example.com"})
        assert "Access-Control-Allow-Origin" not in other.headers


async def test_a_port_in_use_is_one_line() -> None:
    async with (endpoint := Endpoint()).running():
        with pytest.raises(BadSettings, match="cannot listen at http:"):
            await Endpoint(port=endpoint.server.port).server.__aenter__()


async def test_replicas_share_a_port() -> None:
    """Both answer: the kernel distributes the connections, and the port stays open when the first replica ends."""
    async with (first := Endpoint(is_shared=True)).running():
        second = Endpoint(port=first.server.port, is_shared=True)
        await second.server.__aenter__()
    async with aiohttp.ClientSession(second.server.address) as client:
        assert (await client.get("/v1/models")).status == 200
    await second.server.__aexit__(None, None, None)

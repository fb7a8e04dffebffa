"""The token providers: a file, and an endpoint for client credentials."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.security.endpoint import CLIENT_ID, CLIENT_SECRET, SCOPE, TokenEndpoint
from worker.broker.connection.oauth import ClientCredentials, NoToken, TokenFile, build_token_provider
from worker.errors import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.security.certificates import Certificates


@pytest.fixture
def listening(certificates: Certificates) -> Iterator[TokenEndpoint]:
    """Yield a token endpoint for one test."""
    with TokenEndpoint(certificates.broker) as endpoint:
        yield endpoint


class Clock:
    """A clock that the test moves."""

    now_s = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def _credentials(
    endpoint: TokenEndpoint, certificates: Certificates, clock: Clock, secret: str = CLIENT_SECRET
) -> ClientCredentials:
    return ClientCredentials(
        endpoint.url,
        client_id=CLIENT_ID,
        client_secret=secret,
        scope=SCOPE,
        extensions={"logicalCluster": "lkc-1"},
        ca_file=str(certificates.ca_file),
        now_s=clock,
    )


async def test_all_connections_share_a_token_that_is_renewed_before_it_expires(
    listening: TokenEndpoint, certificates: Certificates
) -> None:
    """It is renewed once, after four fifths of its lifetime."""
    clock = Clock()
    tokens = _credentials(listening, certificates, clock)
    assert set(await asyncio.gather(*(tokens.token() for _ in range(5)))) == {listening.issued[0]}
    clock.now_s += 479
    assert await tokens.token() == listening.issued[0]
    clock.now_s += 2
    assert set(await asyncio.gather(*(tokens.token() for _ in range(5)))) == {listening.issued[1]}
    assert len(listening.issued) == 2
    assert tokens.extensions() == {"logicalCluster": "lkc-1"}


async def test_a_valid_token_is_used_while_the_endpoint_is_unavailable(
    listening: TokenEndpoint, certificates: Certificates
) -> None:
    clock = Clock()
    tokens = _credentials(listening, certificates, clock)
    first = await tokens.token()
    listening.response = (503, b"later")
    clock.now_s += 599
    assert await tokens.token() == first
    clock.now_s += 2
    with pytest.raises(NoToken, match="status 503"):
        await tokens.token()
    listening.response = None
    assert await tokens.token() == listening.issued[1]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((200, b"<html>"), "status 200"),
        ((200, b'["access_token"]'), "status 200"),
        ((200, b'{"access_token": "a\\u0001auth=b"}'), "contains no bearer token"),
        ((200, b'{"access_token": 7}'), "contains no bearer token"),
        ((302, b""), "status 302"),
        ((400, b'{"error": "invalid_scope", "error_description": "a\\nb"}'), "status 400 invalid_scope: a b"),
    ],
)
async def test_a_response_without_a_token_is_one_line(
    listening: TokenEndpoint, certificates: Certificates, answer: tuple[int, bytes], complaint: str
) -> None:
    """A redirection is not followed, because it could send the secret to another server."""
    listening.response = answer
    with pytest.raises(NoToken, match=complaint) as caught:
        await _credentials(listening, certificates, Clock()).token()
    assert "\n" not in str(caught.value)
    assert listening.url in str(caught.value)


async def test_a_secret_in_the_response_is_removed_from_the_error(listening: TokenEndpoint, certificates: Certificates) -> None:
    wrong = secrets.token_hex(8)
    with pytest.raises(NoToken, match=r"not known: Basic \*\*\*$"):
        await _credentials(listening, certificates, Clock(), wrong).token()
    listening.response = 400, b'{"error": "bad secret %b"}' % wrong.encode()
    with pytest.raises(NoToken, match=r"bad secret \*\*\*$"):
        await _credentials(listening, certificates, Clock(), wrong).token()


def test_a_provider_works_in_several_event_loops(listening: TokenEndpoint, certificates: Certificates) -> None:
    """A command may run several loops in turn."""
    tokens = _credentials(listening, certificates, Clock())

    async def several() -> set[str]:
        return set(await asyncio.gather(*(tokens.token() for _ in range(3))))

    assert asyncio.run(several()) == asyncio.run(several()) == set(listening.issued)


async def test_a_token_file_is_read_for_each_token(tmp_path: Path) -> None:
    """White space around the token is removed."""
    path = tmp_path / "a token"
    tokens = build_token_provider(path.as_uri(), client_id=None, client_secret=None, scope=None, extensions={}, ca_file=None)
    for content in ("first", "second"):
        path.write_text(f" {content}\n")
        assert await tokens.token() == content


@pytest.mark.parametrize(("content", "complaint"), [(None, "No such file"), (b"a b", "no bearer token"), (b"\xff", "not ASCII")])
async def test_a_token_file_without_a_token_is_one_line_with_its_path(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NoToken, match=complaint) as caught:
        await TokenFile(path, {}).token()
    assert str(path) in str(caught.value)


def test_an_unusable_authority_is_reported_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="GIST_SASL_OAUTHBEARER_CA_FILE"):
        build_token_provider(
            "https://x",
            client_id="a",
            client_secret="b",  # noqa: S106
            scope=None,
            extensions={},
            ca_file=str(tmp_path / "none"),
        )

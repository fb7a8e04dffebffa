"""Tokens from a file and from an endpoint: one for all, renewed in time, and one line where there is none."""

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
    """Give an endpoint of our own."""
    with TokenEndpoint(certificates.broker) as endpoint:
        yield endpoint


class Clock:
    """A time that passes when it is told to."""

    now_s = 1_000.0

    def __call__(self) -> float:
        """Return it."""
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


async def test_one_token_serves_all_and_is_renewed_before_it_expires(listening: TokenEndpoint, certificates: Certificates) -> None:
    """After four fifths of its life, once, whoever asks."""
    clock = Clock()
    tokens = _credentials(listening, certificates, clock)
    assert set(await asyncio.gather(*(tokens.token() for _ in range(5)))) == {listening.given[0]}
    clock.now_s += 479
    assert await tokens.token() == listening.given[0]
    clock.now_s += 2
    assert set(await asyncio.gather(*(tokens.token() for _ in range(5)))) == {listening.given[1]}
    assert len(listening.given) == 2
    assert tokens.extensions() == {"logicalCluster": "lkc-1"}


async def test_a_token_that_is_still_good_serves_while_the_endpoint_is_away(
    listening: TokenEndpoint, certificates: Certificates
) -> None:
    """And no longer than it is good."""
    clock = Clock()
    tokens = _credentials(listening, certificates, clock)
    first = await tokens.token()
    listening.instead = (503, b"later")
    clock.now_s += 599
    assert await tokens.token() == first
    clock.now_s += 2
    with pytest.raises(NoToken, match="status 503"):
        await tokens.token()
    listening.instead = None
    assert await tokens.token() == listening.given[1]


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
async def test_an_answer_without_a_token_is_one_line(
    listening: TokenEndpoint, certificates: Certificates, answer: tuple[int, bytes], complaint: str
) -> None:
    """A redirection is not followed: it could lead the secret elsewhere."""
    listening.instead = answer
    with pytest.raises(NoToken, match=complaint) as caught:
        await _credentials(listening, certificates, Clock()).token()
    assert "\n" not in str(caught.value)
    assert listening.url in str(caught.value)


async def test_a_secret_that_comes_back_is_not_shown(listening: TokenEndpoint, certificates: Certificates) -> None:
    """Neither as it is nor as it was sent."""
    wrong = secrets.token_hex(8)
    with pytest.raises(NoToken, match=r"not known: Basic \*\*\*$"):
        await _credentials(listening, certificates, Clock(), wrong).token()
    listening.instead = 400, b'{"error": "bad secret %b"}' % wrong.encode()
    with pytest.raises(NoToken, match=r"bad secret \*\*\*$"):
        await _credentials(listening, certificates, Clock(), wrong).token()


def test_a_provider_serves_more_than_one_loop(listening: TokenEndpoint, certificates: Certificates) -> None:
    """A command may run several in turn, each with others that wait."""
    tokens = _credentials(listening, certificates, Clock())

    async def several() -> set[str]:
        return set(await asyncio.gather(*(tokens.token() for _ in range(3))))

    assert asyncio.run(several()) == asyncio.run(several()) == set(listening.given)


async def test_a_file_is_read_anew(tmp_path: Path) -> None:
    """Space around the token does not matter."""
    path = tmp_path / "a token"
    tokens = build_token_provider(path.as_uri(), client_id=None, client_secret=None, scope=None, extensions={}, ca_file=None)
    for content in ("first", "second"):
        path.write_text(f" {content}\n")
        assert await tokens.token() == content


@pytest.mark.parametrize(("content", "complaint"), [(None, "No such file"), (b"a b", "no bearer token"), (b"\xff", "not ASCII")])
async def test_a_file_without_a_token_is_one_line(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    """It names the file."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NoToken, match=complaint) as caught:
        await TokenFile(path, {}).token()
    assert str(path) in str(caught.value)


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    """At once, with the setting's name."""
    with pytest.raises(BadSettings, match="GIST_SASL_OAUTHBEARER_CA_FILE"):
        build_token_provider(
            "https://x",
            client_id="a",
            client_secret="b",  # noqa: S106
            scope=None,
            extensions={},
            ca_file=str(tmp_path / "none"),
        )

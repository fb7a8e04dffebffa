"""Tokens for OAUTHBEARER, from a file that another process renews or from a token endpoint.

A failure is one line without a secret, and a `KafkaError`, so that aiokafka retries as for an unavailable broker.

aiokafka has no provider of its own. An OAuth library (Authlib, oauthlib) would be a new dependency for one request: the client
credentials grant is a single POST, and aiohttp is a dependency already. Renewal, the wait of concurrent connections and
the removal of secrets from messages would remain here in any case.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from worker.broker.connection.certificates import build_ssl_context
from worker.errors import BadSettings, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TokenProvider: TypeAlias = AbstractTokenProvider
# The characters of a bearer token (RFC 6750). Another character could end the field of the request that contains the token.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON_CHARS = 200
# Bound of a request to the endpoint, in seconds. The bound of a client's start is twice as long.
_TIMEOUT_S = 10.0
# A token is renewed after this fraction of its lifetime.
_RENEWAL_FRACTION = 0.8
# The lifetime of a token if the endpoint does not name one, in seconds.
_DEFAULT_LIFETIME_S = 300.0


class NoToken(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """No token is available. aiokafka retries as for an unavailable broker."""

    def __str__(self) -> str:
        """Return the reason without the name of the class."""
        return str(self.args[0])


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """A token in a file, which is read for each connection.

    Kubernetes replaces the token file of a service account before the token expires.
    """

    def __init__(self, path: Path, extensions: Mapping[str, str]) -> None:
        """Set the path and the SASL extensions of each login."""
        self._path = path
        self._extensions = extensions

    async def token(self) -> str:
        """Return the present content of the file. Raises `NoToken`."""
        try:
            content = await asyncio.to_thread(self._path.read_text, "ascii")
        except (OSError, ValueError) as error:
            is_decoding = isinstance(error, UnicodeDecodeError)
            reason = "the content is not ASCII" if is_decoding else getattr(error, "strerror", None) or describe_error(error)
            raise NoToken(f"the token file {self._path} cannot be read: {reason}") from None
        return _check_token(content.strip(), f"the token file {self._path}")

    def extensions(self) -> Mapping[str, str]:
        """Return the SASL extensions that are sent with the token."""
        return self._extensions


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """The client credentials grant of OAuth 2.0 (RFC 6749, section 4.4), with one token for all connections.

    The token is renewed before it expires. While the endpoint is unavailable, the present token stays in use until it expires.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        scope: str | None,
        extensions: Mapping[str, str],
        ca_file: str | None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the endpoint and the credentials. Raises `BadSettings` if `ca_file` cannot be used."""
        self._url = url
        self._client_secret = client_secret
        self._credentials = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._scope = scope
        self._extensions = extensions
        self._now_s = now_s
        self._ssl_context = build_ssl_context(ca_file, setting="GIST_SASL_OAUTHBEARER_CA_FILE")
        # The token in use, its time of renewal and its expiry, in seconds of `now_s`.
        self._token, self._renew_at_s, self._expires_at_s = "", float("-inf"), float("-inf")
        # One request at a time. A lock belongs to one event loop, and a command may run several loops in turn.
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def token(self) -> str:
        """Return a token that has not expired; raises `NoToken`."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._now_s() >= self._renew_at_s:
                try:
                    await self._renew()
                except NoToken:
                    if self._now_s() >= self._expires_at_s:
                        raise
            return self._token

    def extensions(self) -> Mapping[str, str]:
        """Return the SASL extensions that are sent with the token."""
        return self._extensions

    async def _renew(self) -> None:
        asked_s = self._now_s()
        status, answer = await self._ask()
        if status != 200 or "access_token" not in answer:  # noqa: PLR2004  RFC 6749, 5.1
            raise NoToken(self._describe(f"status {status}" + self._read_error(answer)))
        token = _check_token(answer["access_token"], f"the token endpoint {self._url}")
        lifetime_s = answer.get("expires_in")
        lifetime_s = float(lifetime_s) if isinstance(lifetime_s, int | float) and lifetime_s > 0 else _DEFAULT_LIFETIME_S
        self._token, self._renew_at_s, self._expires_at_s = token, asked_s + _RENEWAL_FRACTION * lifetime_s, asked_s + lifetime_s

    async def _ask(self) -> tuple[int, dict[str, Any]]:
        """Return the status and the JSON object of the response, empty if there is none. Redirections are not followed."""
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        headers = {"Authorization": f"Basic {self._credentials}", "Accept": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
                session.post(self._url, data=form, headers=headers, ssl=self._ssl_context, allow_redirects=False) as response,
            ):
                content = await response.content.read(_MAX_ANSWER_BYTES)
                return response.status, _parse_object(content)
        except TimeoutError:
            raise NoToken(self._describe(f"no answer within {_TIMEOUT_S:g} s")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoToken(self._describe(describe_error(error))) from None

    def _describe(self, reason: str) -> str:
        """Return one line without a secret. Some endpoints repeat the credentials in their response."""
        shown = " ".join(reason.split())
        for secret in (self._client_secret, self._credentials):
            shown = shown.replace(secret, "***")
        return f"no token from {self._url}: {shown[:_MAX_REASON_CHARS]}"

    @staticmethod
    def _read_error(answer: Mapping[str, Any]) -> str:
        parts = [str(answer[name]) for name in ("error", "error_description") if name in answer]
        return f" {': '.join(parts)}" if parts else ""


def build_token_provider(
    url: str,
    *,
    client_id: str | None,
    client_secret: str | None,
    scope: str | None,
    extensions: Mapping[str, str],
    ca_file: str | None,
) -> TokenProvider:
    """Return a provider for a token file (`file:///…`) or for the endpoint of client credentials. Raises `BadSettings`."""
    try:
        parts = urlsplit(url)
        # Python checks the port when it is read.
        is_file = parts.port is None and parts.scheme == "file"
    except ValueError as error:
        raise BadSettings(f"GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: this is not a URL: {error}") from error
    if is_file:
        return TokenFile(Path(unquote(parts.path)), extensions)
    return ClientCredentials(
        url,
        client_id=client_id or "",
        client_secret=client_secret or "",
        scope=scope,
        extensions=extensions,
        ca_file=ca_file,
    )


def _check_token(token: object, source: str) -> str:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise NoToken(f"{source} contains no bearer token")
    return token


def _parse_object(content: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}

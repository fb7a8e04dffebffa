"""Tokens for OAUTHBEARER: from a file that others renew, or from an endpoint that gives them for a secret.

What goes wrong is one line without a secret, and an error of Kafka's client, which tries again as for any broker that is away.
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
# RFC 6750: what a bearer token may consist of. Anything else could end the field that it is sent in.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_MAX_ANSWER_BYTES = 65_536
_MAX_REASON_CHARS = 200
# How long the endpoint may take, in seconds; a start waits for a broker no longer than twice that.
_TIMEOUT_S = 10.0
# The part of a token's life after which the next one is asked for, and what its life is taken to be where nobody says, in seconds.
_RENEWED_AFTER, _DEFAULT_LIFE_S = 0.8, 300.0


class NoToken(KafkaError):  # type: ignore[misc]  # the client ships no types
    """There is no token to log in with; the client takes it for a broker that cannot be reached, and tries again."""

    def __str__(self) -> str:
        """Return the reason alone."""
        return str(self.args[0])


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # the client ships no types
    """The token in a file, read anew for each connection: Kubernetes replaces a service account's before it expires."""

    def __init__(self, path: Path, extensions: Mapping[str, str]) -> None:
        """Read nothing yet."""
        self._path = path
        self._extensions = extensions

    async def token(self) -> str:
        """Return what stands in the file now; raises `NoToken`."""
        try:
            content = await asyncio.to_thread(self._path.read_text, "ascii")
        except (OSError, ValueError) as error:
            is_decoding = isinstance(error, UnicodeDecodeError)
            reason = "it is not ASCII" if is_decoding else getattr(error, "strerror", None) or describe_error(error)
            raise NoToken(f"the token file {self._path} cannot be read: {reason}") from None
        return _checked(content.strip(), f"the token file {self._path}")

    def extensions(self) -> Mapping[str, str]:
        """Return what the broker is told beside the token."""
        return self._extensions


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]  # the client ships no types
    """OAuth 2.0's client credentials grant (RFC 6749, 4.4): one token for all connections, renewed before it expires.

    While the endpoint is away, a token that has not expired serves on.
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
        """Ask nothing yet; raises `BadSettings` where the certificates to trust cannot be used."""
        self._url = url
        self._client_secret = client_secret
        self._credentials = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        self._scope = scope
        self._extensions = extensions
        self._now_s = now_s
        self._ssl_context = build_ssl_context(ca_file, setting="GIST_SASL_OAUTHBEARER_CA_FILE")
        # The token in use, and when it should be renewed and when it expires, in seconds of `now_s`.
        self._token, self._renewed_s, self._expires_s = "", float("-inf"), float("-inf")
        # One request at a time, whoever asks. A lock belongs to the loop that first waits for it, and commands run several.
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def token(self) -> str:
        """Return a token that has not expired; raises `NoToken`."""
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._now_s() >= self._renewed_s:
                try:
                    await self._renew()
                except NoToken:
                    if self._now_s() >= self._expires_s:
                        raise
            return self._token

    def extensions(self) -> Mapping[str, str]:
        """Return what the broker is told beside the token."""
        return self._extensions

    async def _renew(self) -> None:
        asked_s = self._now_s()
        status, answer = await self._ask()
        if status != 200 or "access_token" not in answer:  # noqa: PLR2004  RFC 6749, 5.1
            raise NoToken(self._line(f"status {status}" + self._error_of(answer)))
        token = _checked(answer["access_token"], f"the token endpoint {self._url}")
        life_s = answer.get("expires_in")
        life_s = float(life_s) if isinstance(life_s, int | float) and life_s > 0 else _DEFAULT_LIFE_S
        self._token, self._renewed_s, self._expires_s = token, asked_s + _RENEWED_AFTER * life_s, asked_s + life_s

    async def _ask(self) -> tuple[int, dict[str, Any]]:
        """Return the endpoint's status and its JSON object, empty where it is none; a redirection is not followed."""
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        headers = {"Authorization": f"Basic {self._credentials}", "Accept": "application/json"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
                session.post(self._url, data=form, headers=headers, ssl=self._ssl_context, allow_redirects=False) as response,
            ):
                content = await response.content.read(_MAX_ANSWER_BYTES)
                return response.status, _object(content)
        except TimeoutError:
            raise NoToken(self._line(f"no answer within {_TIMEOUT_S:g} s")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoToken(self._line(describe_error(error))) from None

    def _line(self, reason: str) -> str:
        """Return one line that holds no secret, whatever the endpoint said: some answer with what they were sent."""
        shown = " ".join(reason.split())
        for secret in (self._client_secret, self._credentials):
            shown = shown.replace(secret, "***")
        return f"no token from {self._url}: {shown[:_MAX_REASON_CHARS]}"

    @staticmethod
    def _error_of(answer: Mapping[str, Any]) -> str:
        said = [str(answer[name]) for name in ("error", "error_description") if name in answer]
        return f" {': '.join(said)}" if said else ""


def build_token_provider(
    url: str,
    *,
    client_id: str | None,
    client_secret: str | None,
    scope: str | None,
    extensions: Mapping[str, str],
    ca_file: str | None,
) -> TokenProvider:
    """Return what gives tokens as `url` says: `file:///…`, or an endpoint for client credentials. Raises `BadSettings`."""
    try:
        parts = urlsplit(url)
        # Python looks at the port when it is asked for.
        is_file = parts.port is None and parts.scheme == "file"
    except ValueError as error:
        raise BadSettings(f"GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: it is no URL: {error}") from error
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


def _checked(token: object, source: str) -> str:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise NoToken(f"{source} holds no bearer token")
    return token


def _object(content: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}

"""Tokens for the login at Amazon MSK with IAM, signed with the credentials of AWS. Needs the extra `msk`."""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING

from aiokafka.abc import AbstractTokenProvider

from worker.broker.connection.oauth import NoToken
from worker.errors import BadSettings, describe_error

if TYPE_CHECKING:
    from collections.abc import Callable

# The addresses of MSK, such as b-1.name.abc.c2.kafka.eu-central-1.amazonaws.com:9098 and boot-abc.c1.kafka-serverless.…
_ADDRESS = re.compile(r"\.kafka(?:-serverless)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com")
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
# A token is renewed after this fraction of its lifetime of 15 minutes.
_RENEWAL_FRACTION = 0.8


class MskIamToken(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """A signed token, which is signed again before it expires."""

    def __init__(self, sign: Callable[[], tuple[str, float]], *, now_s: Callable[[], float] = time.time) -> None:
        """`sign` blocks, and returns a token and its expiry in milliseconds since the epoch."""
        self._sign = sign
        self._now_s = now_s
        # The token in use, its time of renewal and its expiry, in seconds since the epoch.
        self._token, self._renew_at_s, self._expires_at_s = "", 0.0, 0.0

    async def token(self) -> str:
        """Return a token that has not expired. Raises `NoToken` if AWS gives no credentials and the present token has expired."""
        now_s = self._now_s()
        if now_s >= self._renew_at_s:
            try:
                self._token, expiry_ms = await asyncio.to_thread(self._sign)
            except Exception as error:  # noqa: BLE001  any exception of the signer means that there are no credentials
                if now_s < self._expires_at_s:
                    return self._token
                raise NoToken(f"AWS gives no credentials to sign a token of MSK: {describe_error(error)}") from None
            self._expires_at_s = expiry_ms / 1000
            self._renew_at_s = now_s + _RENEWAL_FRACTION * (self._expires_at_s - now_s)
        return self._token


def build_msk_provider(bootstrap_servers: str) -> MskIamToken:
    """Return a provider of tokens for the region of the brokers. Raises `BadSettings` without a region or the extra `msk`."""
    region = find_region(bootstrap_servers, os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "")
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise BadSettings(
            "GIST_SASL_OAUTHBEARER_METHOD=aws_msk_iam needs the signer of AWS: pip install 'gist-stream[msk]'"
        ) from error
    return MskIamToken(lambda: MSKAuthTokenProvider.generate_auth_token(region))


def find_region(bootstrap_servers: str, default: str) -> str:
    """Return the region in the addresses of MSK, or the default. Raises `BadSettings` without a region."""
    found = _ADDRESS.search(bootstrap_servers)
    region = found[1] if found else default
    if not _REGION.fullmatch(region):
        raise BadSettings("GIST_BOOTSTRAP_SERVERS names no region of AWS, as the addresses of MSK do: set AWS_REGION")
    return region

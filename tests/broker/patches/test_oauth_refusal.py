"""The patch that reports a refused OAUTHBEARER token. `tests/security/test_refusals.py` runs it against a real broker."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.conn import OAuthAuthenticator

from worker.broker.patches.oauth_refusal import RefusalAwareAuthenticator

REFUSAL = b'{"status":"invalid_token"}'


class Provider:
    """Provides one token."""

    async def token(self) -> str:
        """Return the token."""
        return "token"


async def run_exchange(authenticator: Any) -> list[tuple[bytes, bool] | None]:
    """Return the messages of an exchange in which the broker refuses the token."""
    return [await authenticator.step(payload) for payload in (None, REFUSAL, b"")]


async def test_aiokafka_ignores_the_error_message_of_the_broker() -> None:
    (first, second, _) = await run_exchange(OAuthAuthenticator(sasl_oauth_token_provider=Provider()))
    assert first is not None
    assert second is None


async def test_the_patched_authenticator_answers_the_error_message_once() -> None:
    (first, second, third) = await run_exchange(RefusalAwareAuthenticator(sasl_oauth_token_provider=Provider()))
    assert first is not None
    assert (second, third) == ((b"\x01", True), None)


@pytest.mark.parametrize("payload", [None, b""])
async def test_an_accepted_token_ends_the_exchange(payload: bytes | None) -> None:
    authenticator = RefusalAwareAuthenticator(sasl_oauth_token_provider=Provider())
    await authenticator.step(None)
    assert await authenticator.step(payload) is None

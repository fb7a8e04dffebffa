"""What Kafka's client lacks of OAUTHBEARER (RFC 7628): to notice that it was refused."""

from __future__ import annotations

import aiokafka.conn
from aiokafka.conn import OAuthAuthenticator

# RFC 7628, 3.2.3: a server that refuses says why, and the client must answer with this for the exchange to end.
_END = b"\x01"


class _Heeding(OAuthAuthenticator):  # type: ignore[misc]  # the client ships no types
    """Ends an exchange that failed, upon which the broker says that it did; the client alone would go on as if logged in."""

    # Whether we have ended the exchange.
    _has_ended = False

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return what to send next, and whether an answer is awaited; None at the end."""
        if payload and not self._has_ended:
            self._has_ended = True
            return _END, True
        following: tuple[bytes, bool] | None = await super().step(payload)
        return following


def patch_oauth_refusal() -> None:
    """Let every client of this process notice; a second time has no effect."""
    aiokafka.conn.OAuthAuthenticator = _Heeding

"""Patch: report that the broker refused an OAUTHBEARER token.

aiokafka: ignores the broker's error message (RFC 7628) and continues as if it were authenticated. The next request
fails without a reason.
Why it matters: the operator must learn that the token is invalid. Without the patch the worker reports a closed connection.
Reference: RFC 7628, section 3.2.3; KIP-255. Other clients had the same defect: IBM/sarama#1423, dpkp/kafka-python#2572.
Needed until: `tests/broker/patches/test_oauth_refusal.py::test_aiokafka_ignores_the_error_message_of_the_broker` fails.
"""

from __future__ import annotations

import aiokafka.conn
from aiokafka.conn import OAuthAuthenticator

# The client answers an error message with this byte. Then the broker ends the exchange with an error code.
_END = b"\x01"


class RefusalAwareAuthenticator(OAuthAuthenticator):  # type: ignore[misc]  # aiokafka has no types
    """Ends a failed exchange, so that the broker answers with the error code that aiokafka raises."""

    _has_ended = False

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message and whether the broker answers it, or None at the end of the exchange."""
        if payload and not self._has_ended:
            self._has_ended = True
            return _END, True
        message: tuple[bytes, bool] | None = await super().step(payload)
        return message


def patch_oauth_refusal() -> None:
    """Set the authenticator of all clients of this process."""
    aiokafka.conn.OAuthAuthenticator = RefusalAwareAuthenticator

"""How every client of ours reaches the brokers: addresses, encryption, identity."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaError

from worker.errors import BadSettings, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable

Answer = TypeVar("Answer")
# How long a start waits for the first answer of a broker, in seconds.
CONNECT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the brokers are and who we are to them. The password never shows in a representation."""

    bootstrap_servers: str
    client_id: str = "gist-stream"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_ca_file: str | None = None
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    request_timeout_ms: int = 30_000

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that Kafka's clients take; raises `BadSettings` where a certificate cannot be used."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": self.request_timeout_ms,
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
            if self.ssl_cert_file:
                context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file)
        except (OSError, ssl.SSLError) as error:
            raise BadSettings(f"the TLS files cannot be used: {error}") from error
        return context

    async def connect(self, starting: Awaitable[Answer]) -> Answer:
        """Await the start of a client, within a bound; raises `BrokerUnavailable` with one line that says where and why not."""
        try:
            return await asyncio.wait_for(starting, CONNECT_TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            reason = str(error) or f"no answer within {CONNECT_TIMEOUT_S:g} s"
            raise BrokerUnavailable(f"no broker can be used at {self.bootstrap_servers}: {reason}") from error

"""How every client of ours reaches the brokers: addresses, encryption, identity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.errors import KafkaError

from worker.broker.connection.certificates import build_ssl_context, load_identity
from worker.broker.connection.failure_reasons import describe_connection_failure, diagnose_connection
from worker.broker.patches.error_codes import patch_error_codes
from worker.broker.patches.oauth_refusal import patch_oauth_refusal
from worker.broker.timeouts import with_timeout
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable

    from worker.broker.connection.oauth import TokenProvider

Answer = TypeVar("Answer")
# How long a start waits for the first answer of a broker, in seconds.
CONNECT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the brokers are and who we are to them. No secret ever shows in a representation."""

    bootstrap_servers: str
    client_id: str = "gist-stream"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    #: Gives the tokens of OAUTHBEARER; all clients share it.
    tokens: TokenProvider | None = None
    ssl_ca_file: str | None = None
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    request_timeout_ms: int = 30_000

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that Kafka's clients take; raises `BadSettings` where a certificate cannot be used."""
        patch_error_codes()
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "request_timeout_ms": self.request_timeout_ms,
        }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if self.security_protocol.startswith("SASL"):
            patch_oauth_refusal()
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_oauth_token_provider": self.tokens,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        context = build_ssl_context(self.ssl_ca_file, setting="GIST_SSL_CA_FILE")
        if self.ssl_cert_file:
            load_identity(context, self.ssl_cert_file, self.ssl_key_file, self.ssl_key_password)
        return context

    async def connect(self, starting: Awaitable[Answer]) -> Answer:
        """Await the start of a client, within a bound; raises `BrokerUnavailable` with one line that says where and why not."""
        try:
            return await with_timeout(CONNECT_TIMEOUT_S, starting)
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            raise BrokerUnavailable(f"no broker can be used at {self.bootstrap_servers}: {await self._reason(error)}") from error

    async def _reason(self, error: Exception) -> str:
        """Return why no client could be started: where the client does not say, the brokers do when they are asked once more."""
        late = f"no answer within {CONNECT_TIMEOUT_S:g} s"
        try:
            found = await with_timeout(CONNECT_TIMEOUT_S, diagnose_connection(self.options()))
        except TimeoutError:
            return late
        return found or (describe_connection_failure(error) if str(error) else late)

"""The connection of all Kafka clients to the brokers: addresses, encryption and login."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from worker.broker.connection.certificates import build_ssl_context, load_identity
from worker.broker.connection.failure_reasons import describe_connection_failure, diagnose_connection
from worker.broker.patches import apply_patches
from worker.broker.timeouts import with_timeout
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable

    from worker.broker.connection.oauth import TokenProvider

Answer = TypeVar("Answer")
# Bound of the start of a client, in seconds.
CONNECT_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The options that all Kafka clients share. The representation contains no secret."""

    bootstrap_servers: str
    client_id: str = "gist-stream"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    #: Provides the tokens of OAUTHBEARER to all clients.
    tokens: TokenProvider | None = None
    ssl_ca_file: str | None = None
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: str | None = field(default=None, repr=False)
    request_timeout_ms: int = 30_000

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of aiokafka's clients. Raises `BadSettings` if a certificate cannot be used."""
        # Every client is created with these options, so aiokafka is patched before the first client exists.
        apply_patches()
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
        """Await the start of a client. Raises `BrokerUnavailable` with the address and the reason, in one line."""
        try:
            return await with_timeout(CONNECT_TIMEOUT_S, starting)
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            raise BrokerUnavailable(f"no broker can be used at {self.bootstrap_servers}: {await self._reason(error)}") from error

    async def _reason(self, error: Exception) -> str:
        """Return why a client did not start. aiokafka often raises no reason, so the brokers are asked once more."""
        timed_out = f"no answer within {CONNECT_TIMEOUT_S:g} s"
        try:
            reason = await with_timeout(CONNECT_TIMEOUT_S, diagnose_connection(self.options()))
        except TimeoutError:
            return timed_out
        return reason or (describe_connection_failure(error) if str(error) else timed_out)


@contextlib.asynccontextmanager
async def open_consumer(connection: Connection, *topics: str, activity: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """Start a consumer and stop it at the end of the block. It commits only on request.

    Raises `BrokerUnavailable`, also if the block fails with a `KafkaError`; `activity` names the work of the block in the error.
    """
    consumer = AIOKafkaConsumer(*topics, **connection.options(), enable_auto_commit=False, **options)
    try:
        await connection.connect(consumer.start())
        yield consumer
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers}: {activity} failed: {error}") from error
    finally:
        await consumer.stop()

"""The reason of a failed connection, in one line. aiokafka logs the reason and raises an error without it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The TLS alerts of a broker that requires a client certificate, does not trust it, or does not use TLS.
_CERTIFICATE_REQUIRED = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE")
_CERTIFICATE_UNTRUSTED = ("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED")
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


async def diagnose_connection(options: Mapping[str, Any]) -> str | None:
    """Connect to the bootstrap brokers in turn and return why the first connection fails, or None if all succeed."""
    others = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    try:
        addresses = collect_hosts(options["bootstrap_servers"], randomize=False)
    except ValueError as error:
        return f"GIST_BOOTSTRAP_SERVERS: {_describe(error)}"
    for host, port, _ in addresses:
        try:
            connection = await create_conn(host, port, **others)
        except (OSError, KafkaError, TimeoutError, ValueError, KeyError, AssertionError) as error:
            return describe_connection_failure(error)
        connection.close()
    return None


def describe_connection_failure(error: BaseException) -> str:
    """Return the root cause of a failed connection, with the setting to change if there is one."""
    causes = _collect_causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _describe_tls_failure(cause)
        if isinstance(cause, SaslAuthenticationFailed):
            return f"the broker refuses the login: {_describe(cause)}"
        if isinstance(cause, UnsupportedSaslMechanismError):
            return f"the broker does not accept the mechanism in GIST_SASL_MECHANISM: {_describe(cause)}"
    if isinstance(causes[-1], EOFError | ConnectionResetError):
        return "the broker closed the connection at once: check that GIST_SECURITY_PROTOCOL is the protocol of this port"
    # The innermost cause has the most detail.
    return next((_describe(cause) for cause in reversed(causes) if str(cause)), type(error).__name__)


def _describe_tls_failure(error: ssl.SSLError) -> str:
    code = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')} (GIST_SSL_CA_FILE names the authority)"
    if any(alert in code for alert in _CERTIFICATE_REQUIRED):
        return "the broker requires a client certificate: set GIST_SSL_CERT_FILE and GIST_SSL_KEY_FILE"
    if any(alert in code for alert in _CERTIFICATE_UNTRUSTED):
        return "the broker does not trust the certificate in GIST_SSL_CERT_FILE, or the certificate has expired"
    if any(alert in code for alert in _NO_TLS):
        return "the broker does not use TLS at this port, but GIST_SECURITY_PROTOCOL requires it"
    return f"TLS failed: {code.lower().replace('_', ' ') or error}"


def _describe(error: BaseException) -> str:
    """Return the message of an error in one line, without the name of its class."""
    message = str(error.args[0]) if isinstance(error, KafkaError) and error.args else str(error)
    return " ".join((message or type(error).__name__).split())


def _collect_causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, from the outermost to the innermost."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return causes

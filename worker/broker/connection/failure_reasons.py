"""Why a broker cannot be reached, in one line: Kafka's client logs the cause, and raises that there was one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What a broker's TLS says when it wants a certificate of ours and gets none, or not one that it trusts.
_WANTED = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE")
_UNTRUSTED = ("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED")
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")


async def diagnose_connection(options: Mapping[str, Any]) -> str | None:
    """Ask each bootstrap broker in turn and return what stands in the way of the first that refuses; None where all answer."""
    named = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    try:
        addresses = collect_hosts(options["bootstrap_servers"], randomize=False)
    except ValueError as error:
        return f"GIST_BOOTSTRAP_SERVERS: {_words(error)}"
    for host, port, _ in addresses:
        try:
            connection = await create_conn(host, port, **named)
        except (OSError, KafkaError, TimeoutError, ValueError, KeyError, AssertionError) as error:
            return describe_connection_failure(error)
        connection.close()
    return None


def describe_connection_failure(error: BaseException) -> str:
    """Return what is at the bottom of a failed connection, in words of the settings where they can change it."""
    chain = _chain(error)
    for it in chain:
        if isinstance(it, ssl.SSLError):
            return _tls_reason(it)
        if isinstance(it, SaslAuthenticationFailed):
            return f"it refuses our login: {_words(it)}"
        if isinstance(it, UnsupportedSaslMechanismError):
            return f"it does not take GIST_SASL_MECHANISM as it is set: {_words(it)}"
    if isinstance(chain[-1], EOFError | ConnectionResetError):
        return "it closed the connection at once: GIST_SECURITY_PROTOCOL may not be what it speaks at this port"
    # The innermost says most.
    return next((_words(it) for it in reversed(chain) if str(it)), type(error).__name__)


def _tls_reason(error: ssl.SSLError) -> str:
    code = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message.rstrip('.')} (GIST_SSL_CA_FILE says who is trusted)"
    if any(it in code for it in _WANTED):
        return "it wants a certificate of ours: GIST_SSL_CERT_FILE and GIST_SSL_KEY_FILE name it"
    if any(it in code for it in _UNTRUSTED):
        return "it does not trust the certificate in GIST_SSL_CERT_FILE, or that has expired"
    if any(it in code for it in _NO_TLS):
        return "it does not speak TLS at this port, as GIST_SECURITY_PROTOCOL says it should"
    return f"TLS failed: {code.lower().replace('_', ' ') or error}"


def _words(error: BaseException) -> str:
    """Return what an error says without the name of its class, on one line."""
    words = str(error.args[0]) if isinstance(error, KafkaError) and error.args else str(error)
    return " ".join((words or type(error).__name__).split())


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, from the outermost."""
    chain: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in chain:
        chain.append(found)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return chain

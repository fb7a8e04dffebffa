"""The TLS files of the settings: whom to trust, and who we are. What cannot be used is one line with the name of its setting."""

from __future__ import annotations

import ssl
from pathlib import Path

from worker.errors import BadSettings, describe_error

_CERTIFICATE, _KEY = b"CERTIFICATE-----", b"PRIVATE KEY-----"


def build_ssl_context(ca_file: str | None, *, setting: str) -> ssl.SSLContext:
    """Return a context that trusts the certificates in a file, or the system's; raises `BadSettings`."""
    if ca_file is not None:
        _check(ca_file, _CERTIFICATE, setting=setting)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise BadSettings(f"{setting}: {ca_file}: it holds no certificate that can be used: {_words(error)}") from error


def load_identity(context: ssl.SSLContext, cert_file: str, key_file: str | None, password: str | None) -> None:
    """Let a context show our certificate; raises `BadSettings`."""
    _check(cert_file, _CERTIFICATE, setting="GIST_SSL_CERT_FILE")
    if key_file is not None:
        _check(key_file, _KEY, setting="GIST_SSL_KEY_FILE")
    try:
        # Without a password OpenSSL would ask for one at the terminal, and wait.
        context.load_cert_chain(cert_file, key_file, lambda: password or "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadSettings(f"GIST_SSL_KEY_FILE: {key_file}: it is not the key of the certificate {cert_file}") from error
        raise BadSettings(
            f"GIST_SSL_KEY_FILE: {key_file}: the key or its certificate cannot be used: one of them is damaged, "
            f"or GIST_SSL_KEY_PASSWORD is not the key's: {_words(error)}"
        ) from error
    except (OSError, ValueError) as error:
        raise BadSettings(f"GIST_SSL_KEY_PASSWORD: it cannot be used: {_words(error)}") from error


def _check(file: str, mark: bytes, *, setting: str) -> None:
    """Raise `BadSettings` where a file cannot be read, or where no line of it begins what it should hold."""
    try:
        content = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise BadSettings(f"{setting}: {file}: {error.strerror if isinstance(error, OSError) else error}") from error
    if mark not in content:
        what = "certificate" if mark == _CERTIFICATE else "private key"
        raise BadSettings(f"{setting}: {file}: it holds no {what} in PEM")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or describe_error(error)

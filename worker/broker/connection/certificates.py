"""The TLS files of the settings: trusted authorities and the certificate of the worker.

A file that cannot be used is reported in one line with the name of its setting.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from worker.errors import BadSettings, describe_error

_CERTIFICATE, _KEY = b"CERTIFICATE-----", b"PRIVATE KEY-----"


def build_ssl_context(ca_file: str | None, *, setting: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file, or those of the system. Raises `BadSettings`."""
    if ca_file is not None:
        _check_pem(ca_file, _CERTIFICATE, setting=setting)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise BadSettings(f"{setting}: {ca_file}: the file contains no usable certificate: {_describe(error)}") from error


def load_identity(
    context: ssl.SSLContext, cert_file: str, key_file: str | None, password: str | None, *, prefix: str = "GIST_SSL"
) -> None:
    """Add the certificate of the worker to a context. Raises `BadSettings`; the names of the settings begin with `prefix`."""
    _check_pem(cert_file, _CERTIFICATE, setting=f"{prefix}_CERT_FILE")
    if key_file is not None:
        _check_pem(key_file, _KEY, setting=f"{prefix}_KEY_FILE")
    try:
        # Without this function OpenSSL would ask for the password at the terminal and wait.
        context.load_cert_chain(cert_file, key_file, lambda: password or "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadSettings(f"{prefix}_KEY_FILE: {key_file}: this is not the key of the certificate {cert_file}") from error
        raise BadSettings(
            f"{prefix}_KEY_FILE: {key_file}: the key or its certificate cannot be used. One of them is damaged, "
            f"or {prefix}_KEY_PASSWORD is wrong: {_describe(error)}"
        ) from error
    except (OSError, ValueError) as error:
        raise BadSettings(f"{prefix}_KEY_PASSWORD: the password cannot be used: {_describe(error)}") from error


def _check_pem(file: str, mark: bytes, *, setting: str) -> None:
    """Raise `BadSettings` if a file cannot be read or has no PEM block with the given mark."""
    try:
        content = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise BadSettings(f"{setting}: {file}: {error.strerror if isinstance(error, OSError) else error}") from error
    if mark not in content:
        content_name = "certificate" if mark == _CERTIFICATE else "private key"
        raise BadSettings(f"{setting}: {file}: the file contains no {content_name} in PEM format")


def _describe(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or describe_error(error)

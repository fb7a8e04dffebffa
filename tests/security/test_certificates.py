"""TLS files that cannot be used. Each is reported in one line with the name of its setting."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from worker.broker.connection.certificates import build_ssl_context, load_identity
from worker.broker.connection.connection import Connection
from worker.broker.connection.oauth import build_token_provider
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.security.certificates import Certificates

BAD_FILES = {
    "latin1": "café".encode("latin-1"),
    "binary": b"\x30\x82\x01\x00\xff\xfe",
    "nul": b"-----BEGIN \0",
    "empty": b"",
    "utf16": "-----BEGIN CERTIFICATE-----\nx\n".encode("utf-16"),
    "damaged": b"-----BEGIN CERTIFICATE-----\n\xe9\xe9\n-----END CERTIFICATE-----\n",
    "damaged_key": b"-----BEGIN PRIVATE KEY-----\n\xe9\xe9\n-----END PRIVATE KEY-----\n",
}


@pytest.fixture(params=[*BAD_FILES, "folder", "nowhere"])
def bad_file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a file without a certificate or key, or a path without a file."""
    path = tmp_path / request.param
    if request.param in BAD_FILES:
        path.write_bytes(BAD_FILES[request.param])
    elif request.param == "folder":
        path.mkdir()
    return str(path)


def assert_one_line(error: BadSettings, setting: str, file: str) -> None:
    """Assert that the error is one line with the setting and the file."""
    assert str(error).startswith(f"{setting}: {file}: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize("setting", ["GIST_SSL_CA_FILE", "GIST_SASL_OAUTHBEARER_CA_FILE"])
def test_an_unusable_authority_is_one_line_with_its_setting(bad_file: str, setting: str) -> None:

    def use() -> object:
        if setting == "GIST_SSL_CA_FILE":
            return Connection(bootstrap_servers="broker", security_protocol="SSL", ssl_ca_file=bad_file).options()
        return build_token_provider("https://x", client_id="c", client_secret=None, scope=None, extensions={}, ca_file=bad_file)

    with pytest.raises(BadSettings) as caught:
        use()
    assert_one_line(caught.value, setting, bad_file)


def test_an_unusable_certificate_or_key_is_one_line_with_its_setting(bad_file: str, certificates: Certificates) -> None:
    context, ours = ssl.create_default_context(), certificates.client
    with pytest.raises(BadSettings) as caught:
        load_identity(context, str(ours.cert_file), bad_file, None)
    assert_one_line(caught.value, "GIST_SSL_KEY_FILE", bad_file)
    with pytest.raises(BadSettings, match=r"^GIST_SSL_(CERT|KEY)_FILE: ") as caught:
        load_identity(context, bad_file, str(ours.key_file), None)
    assert "\n" not in str(caught.value)


def test_a_wrong_key_and_an_invalid_password_are_named(certificates: Certificates) -> None:
    """The error does not contain the password."""
    context, ours = ssl.create_default_context(), certificates.client
    with pytest.raises(BadSettings, match=r"^GIST_SSL_KEY_FILE: .*: this is not the key of the certificate"):
        load_identity(context, str(ours.cert_file), str(certificates.stranger.key_file), None)
    with pytest.raises(BadSettings, match=r"^GIST_SSL_KEY_PASSWORD: ") as caught:
        load_identity(context, str(ours.cert_file), str(certificates.locked("right")), "secret" * 1000)
    assert "secret" not in str(caught.value)


def test_without_a_file_the_authorities_of_the_system_are_trusted() -> None:
    """The context checks host names."""
    assert build_ssl_context(None, setting="GIST_SSL_CA_FILE").check_hostname


@pytest.mark.parametrize("url", ["https://[", "https://host:port/token", "https://host:99999"])
def test_an_invalid_endpoint_is_named_by_its_setting(url: str) -> None:
    with pytest.raises(BadSettings, match=r"^GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: this is not a URL: "):
        build_token_provider(url, client_id="c", client_secret=None, scope=None, extensions={}, ca_file=None)


async def test_a_token_file_with_an_invalid_path_cannot_be_read() -> None:
    provider = build_token_provider("file:///a%00b", client_id=None, client_secret=None, scope=None, extensions={}, ca_file=None)
    with pytest.raises(Exception, match="cannot be read: embedded null byte"):
        await provider.token()

"""TLS files that cannot be used: each is one line with the name of its setting."""

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
    """Give a file that holds neither a certificate nor a key, or a path without a file."""
    path = tmp_path / request.param
    if request.param in BAD_FILES:
        path.write_bytes(BAD_FILES[request.param])
    elif request.param == "folder":
        path.mkdir()
    return str(path)


def assert_one_line(error: BadSettings, setting: str, file: str) -> None:
    """Assert that a line names the setting and the file."""
    assert str(error).startswith(f"{setting}: {file}: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize("setting", ["GIST_SSL_CA_FILE", "GIST_SASL_OAUTHBEARER_CA_FILE"])
def test_certificates_to_trust_that_cannot_be_used(bad_file: str, setting: str) -> None:
    """For the brokers and for the token endpoint."""

    def use() -> object:
        if setting == "GIST_SSL_CA_FILE":
            return Connection(bootstrap_servers="broker", security_protocol="SSL", ssl_ca_file=bad_file).options()
        return build_token_provider("https://x", client_id="c", client_secret=None, scope=None, extensions={}, ca_file=bad_file)

    with pytest.raises(BadSettings) as caught:
        use()
    assert_one_line(caught.value, setting, bad_file)


def test_an_identity_that_cannot_be_used(bad_file: str, certificates: Certificates) -> None:
    """Neither as a certificate nor as its key."""
    context, ours = ssl.create_default_context(), certificates.client
    with pytest.raises(BadSettings) as caught:
        load_identity(context, str(ours.cert_file), bad_file, None)
    assert_one_line(caught.value, "GIST_SSL_KEY_FILE", bad_file)
    with pytest.raises(BadSettings, match=r"^GIST_SSL_(CERT|KEY)_FILE: ") as caught:
        load_identity(context, bad_file, str(ours.key_file), None)
    assert "\n" not in str(caught.value)


def test_a_key_of_another_certificate_and_a_password_that_is_too_long(certificates: Certificates) -> None:
    """Both are named; the password is not shown."""
    context, ours = ssl.create_default_context(), certificates.client
    with pytest.raises(BadSettings, match=r"^GIST_SSL_KEY_FILE: .*: this is not the key of the certificate"):
        load_identity(context, str(ours.cert_file), str(certificates.stranger.key_file), None)
    with pytest.raises(BadSettings, match=r"^GIST_SSL_KEY_PASSWORD: ") as caught:
        load_identity(context, str(ours.cert_file), str(certificates.locked("right")), "hush" * 1000)
    assert "hush" not in str(caught.value)


def test_the_systems_certificates_are_trusted_where_no_file_is_named() -> None:
    """The context verifies hosts."""
    assert build_ssl_context(None, setting="GIST_SSL_CA_FILE").check_hostname


@pytest.mark.parametrize("url", ["https://[", "https://host:port/token", "https://host:99999"])
def test_an_endpoint_that_is_no_url(url: str) -> None:
    """It is named by its setting."""
    with pytest.raises(BadSettings, match=r"^GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL: this is not a URL: "):
        build_token_provider(url, client_id="c", client_secret=None, scope=None, extensions={}, ca_file=None)


async def test_a_token_file_whose_path_no_system_takes() -> None:
    """A NUL byte in its address is as good as no file."""
    provider = build_token_provider("file:///a%00b", client_id=None, client_secret=None, scope=None, extensions={}, ca_file=None)
    with pytest.raises(Exception, match="cannot be read: embedded null byte"):
        await provider.token()

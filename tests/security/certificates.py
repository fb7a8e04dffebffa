"""Certificates for one run of the tests: an authority, what it signed, and what nobody should trust."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

if TYPE_CHECKING:
    from pathlib import Path

# Where the brokers of the tests listen.
HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as files."""

    cert_file: Path
    key_file: Path
    #: Both in one, as a broker takes them.
    bundle: Path


class Certificates:
    """Files in one directory."""

    def __init__(self, directory: Path) -> None:
        """Make all of them."""
        self._directory = directory
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.other_ca_file = directory / "other-ca.pem"
        stranger.cert_pem.write_to_path(str(self.other_ca_file))
        self.broker = self._written("broker", authority.issue_cert(HERE, "localhost"))
        self.elsewhere = self._written("elsewhere", authority.issue_cert("elsewhere.example"))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        past = yesterday - timedelta(days=1)
        self.expired = self._written("expired", authority.issue_cert(HERE, not_before=past, not_after=yesterday))
        self.client = self._written("client", authority.issue_cert("client.example", common_name="gist"))
        self.stranger = self._written("stranger", stranger.issue_cert("client.example", common_name="gist"))
        self.expired_client = self._written(
            "expired-client", authority.issue_cert("client.example", common_name="gist", not_before=past, not_after=yesterday)
        )

    def locked(self, password: str) -> Path:
        """Return the client's key again, under a password."""
        key = load_key(self.client.key_file.read_bytes(), None)
        path = self._directory / "locked.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())))
        return path

    def _written(self, name: str, issued: trustme.LeafCert) -> Identity:
        cert, key, bundle = (self._directory / f"{name}.{kind}" for kind in ("pem", "key", "bundle"))
        chain = b"".join(it.bytes() for it in issued.cert_chain_pems)
        # Kafka reads keys in this form alone.
        plain = load_key(issued.private_key_pem.bytes(), None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        cert.write_bytes(chain)
        key.write_bytes(plain)
        bundle.write_bytes(plain + chain)
        return Identity(cert, key, bundle)

"""Certificates for one run of the tests: an authority, certificates that it signed, and untrusted ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

if TYPE_CHECKING:
    from pathlib import Path

# The address of the brokers of the tests.
HERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key, as files."""

    cert_file: Path
    key_file: Path
    #: Certificate and key in one file, for a broker.
    bundle: Path


class Certificates:
    """The certificates, as files in one directory."""

    def __init__(self, directory: Path) -> None:
        """Create all certificates."""
        self._directory = directory
        authority, stranger = trustme.CA(), trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.other_ca_file = directory / "other-ca.pem"
        stranger.cert_pem.write_to_path(str(self.other_ca_file))
        self.broker = self._write("broker", authority.issue_cert(HERE, "localhost"))
        self.elsewhere = self._write("elsewhere", authority.issue_cert("elsewhere.example"))
        yesterday = datetime.now(UTC) - timedelta(days=1)
        past = yesterday - timedelta(days=1)
        self.expired = self._write("expired", authority.issue_cert(HERE, not_before=past, not_after=yesterday))
        self.client = self._write("client", authority.issue_cert("client.example", common_name="gist"))
        self.stranger = self._write("stranger", stranger.issue_cert("client.example", common_name="gist"))
        self.expired_client = self._write(
            "expired-client", authority.issue_cert("client.example", common_name="gist", not_before=past, not_after=yesterday)
        )

    def locked(self, password: str) -> Path:
        """Return a copy of the client's key that is encrypted with a password."""
        key = load_key(self.client.key_file.read_bytes(), None)
        path = self._directory / "locked.key"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())))
        return path

    def _write(self, name: str, issued: trustme.LeafCert) -> Identity:
        cert, key, bundle = (self._directory / f"{name}.{kind}" for kind in ("pem", "key", "bundle"))
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        # Kafka reads keys in this format only.
        plain = load_key(issued.private_key_pem.bytes(), None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        cert.write_bytes(chain)
        key.write_bytes(plain)
        bundle.write_bytes(plain + chain)
        return Identity(cert, key, bundle)

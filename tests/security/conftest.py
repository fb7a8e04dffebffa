"""One secured broker, and certificates that are created for this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.security.certificates import Certificates
from tests.security.endpoint import TokenEndpoint
from tests.security.secured_kafka import SecuredKafka

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return the certificates of this run."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secured(certificates: Certificates) -> Iterator[SecuredKafka]:
    """Yield a broker that requires a login and ACLs."""
    with SecuredKafka(certificates) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def endpoint(certificates: Certificates) -> Iterator[TokenEndpoint]:
    """Yield a token endpoint."""
    with TokenEndpoint(certificates.broker) as listening:
        yield listening

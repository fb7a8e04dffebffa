"""One secured broker for all, and certificates that are made for this run."""

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
    """Give an authority and what it signed."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secured(certificates: Certificates) -> Iterator[SecuredKafka]:
    """Give a broker that lets nobody in who cannot say who they are."""
    with SecuredKafka(certificates) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def endpoint(certificates: Certificates) -> Iterator[TokenEndpoint]:
    """Give an endpoint that gives tokens."""
    with TokenEndpoint(certificates.broker) as listening:
        yield listening

"""For every test: examples without a clock, and a real Kafka for those that ask for one.

That is the one at KAFKA_BOOTSTRAP_SERVERS, else one in Docker, else the embedded one.
"""

from __future__ import annotations

import logging
import os
import signal
import uuid
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.integration.support import docker_kafka
from worker.broker.connection.connection import Connection
from worker.commands.run.signals import DRAINING
from worker.testbed.embedded_kafka import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Iterator


# A run that was started in the background ignores these signals, and so would the commands that the tests start and interrupt. A
# child does not inherit a handler.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

# How long an example takes says more about the machine than about the code.
settings.register_profile("no-clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no-clock")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Give the bootstrap address of a broker for the whole run, and say which it is."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        print(f"\nKafka: {given}, as KAFKA_BOOTSTRAP_SERVERS says")  # noqa: T201
        yield given
        return
    reason = docker_kafka.unavailable()
    if reason is None:
        with docker_kafka.ApacheKafka() as container:
            print(f"\nKafka: {docker_kafka.IMAGE} in Docker")  # noqa: T201
            yield container.bootstrap_servers
        return
    with EmbeddedKafka() as embedded:
        print(f"\nKafka: embedded ({reason})")  # noqa: T201
        yield embedded.bootstrap_servers


@pytest.fixture
def connection(kafka: str) -> Connection:
    """Give the way to the broker of the run."""
    return Connection(bootstrap_servers=kafka, request_timeout_ms=10_000)


@pytest.fixture
def topic() -> str:
    """Give a name that no other test has."""
    return f"texts-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def own_kafka() -> Iterator[EmbeddedKafka]:
    """Give a broker that the test may kill."""
    with EmbeddedKafka() as broker:
        yield broker


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Put the standard library's logging back as it was."""
    root = logging.getLogger()
    handlers, level, aiokafka = root.handlers[:], root.level, logging.getLogger("aiokafka").level
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("aiokafka").setLevel(aiokafka)
    structlog.reset_defaults()


@pytest.fixture
def _signals_as_before() -> Iterator[None]:
    """Put the handlers of signals back as they were."""
    handlers = {number: signal.getsignal(number) for number in DRAINING}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)

"""What scenarios are given: the mode of delivery, a seed, how long and how much, and a cluster that they share.

FAULTS_SEED     chooses every random moment; printed, so that a failure can be played again
DURATION        seconds for which scenarios that can repeat go on repeating; 0: once
PROTOCOL        classic or consumer: the protocol of every group; unset: one for each mode, which the next seed swaps
FAULTS_SCALE    multiplies the records of each scenario
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

from tests.faults.lab.cluster import Cluster
from tests.faults.lab.lab import DURATION_S, SCALE
from tests.faults.lab.oracle import Mode
from worker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_HERE = Path(__file__).parent
_SEED = int(os.environ.get("FAULTS_SEED") or secrets.randbelow(1_000_000))
_OFFERED = get_args(Settings.model_fields["delivery"].annotation)


def pytest_report_header() -> str:
    """Say how to play this run again."""
    return f"faults: FAULTS_SEED={_SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every scenario the time that a larger or longer run takes."""
    for item in items:
        if _HERE in item.path.parents and item.get_closest_marker("kafka"):
            item.add_marker(pytest.mark.timeout(400 + 300 * SCALE + 2 * DURATION_S), append=False)


@pytest.fixture
def seed() -> int:
    """Give the seed of the run."""
    return _SEED


@pytest.fixture(params=get_args(Mode))
def mode(request: pytest.FixtureRequest) -> Mode:
    """Give each mode of delivery in turn."""
    wanted: Mode = request.param
    if wanted not in _OFFERED:
        pytest.skip(f"the settings do not offer {wanted}")
    return wanted


@pytest.fixture(scope="session")
def broker() -> Iterator[Cluster]:
    """Give one broker, which stays alive, to the scenarios about workers."""
    with Cluster(1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def proxied_broker() -> Iterator[Cluster]:
    """Give one broker behind a proxy to the scenarios about the network."""
    with Cluster(1, proxied=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give three brokers, behind proxies, to the scenarios that kill some of them."""
    with Cluster(3, proxied=True) as brokers:
        yield brokers

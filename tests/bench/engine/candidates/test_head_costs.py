"""What the heads cost: shares of a whole pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.bench.engine.candidates.gist_engine import GistEngine
from worker.bench.engine.workload import REAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus

pytestmark = pytest.mark.model


def test_shares_are_below_one(job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """Heads and decoding have shares of their own."""
    found = GistEngine(job("gist_engine", backend="eager"), corpora).heads(REAL, 4)
    assert found.keys() == {"heads_share", "plain_values_share", "heads_and_values_share"}
    assert all(share < 1 for share in found.values())

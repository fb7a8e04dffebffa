"""The judge: fp32 is as fp32, and every way has its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.bench.engine.judge import Judge
from worker.bench.engine.workload import REAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus

pytestmark = pytest.mark.model


def test_a_way_is_near_to_fp32(job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """By transformers' vectors, and by our own labels and entities."""
    found = Judge(job("judge"), corpora).compare(REAL, 3, ["eager"])
    assert found.keys() == {"eager"}
    assert found["eager"]["num_texts"] == 3
    assert found["eager"]["min_cosine_to_fp32"] > 0.999
    assert {"label_agreement", "entity_f1", "mean_cosine"} <= found["eager"].keys()

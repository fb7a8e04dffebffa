"""The judge: fp32 is as fp32, and every way has its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.bench.engine.candidates.compare_outputs import OutputComparison
from worker.bench.engine.workload import REAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus

pytestmark = pytest.mark.model


def test_the_eager_backend_is_close_to_fp32(job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """Vectors are compared with transformers, labels and entities with the eager backend in fp32."""
    found = OutputComparison(job("compare_outputs"), corpora).compare(REAL, 3, ["eager"])
    assert found.keys() == {"eager"}
    assert found["eager"]["num_texts"] == 3
    assert found["eager"]["min_cosine_to_fp32"] > 0.999
    assert {"label_agreement", "entity_f1", "mean_cosine"} <= found["eager"].keys()

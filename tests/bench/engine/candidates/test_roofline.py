"""The bare matrix products: of the same tokens, without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.bench.engine.candidates.roofline import Roofline
from worker.bench.engine.measures import Sample
from worker.bench.engine.workload import MIXTURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus

pytestmark = pytest.mark.model


def test_a_sample_has_the_tokens_of_the_texts(job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """There are four linear layers for each of six encoder layers."""
    roofline = Roofline(job("roofline"), corpora)
    assert roofline.about()["about"] == "24 products of 256 rows, float32"
    sample = Sample(**roofline.measure(MIXTURE, 0, 12))
    assert sample.num_tokens == sample.num_rows == sum(len(text.split()) + 2 for text in corpora[MIXTURE].texts)
    assert sample.seconds > 0

"""The bare matrix products: of the same tokens, without padding, in each arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from worker.bench.engine.job import Sample
from worker.bench.engine.workload import MIXTURE

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.workload import Corpus

pytestmark = pytest.mark.model


def test_every_arithmetic_is_measured(build_role: Callable[..., Any], corpora: dict[str, Corpus]) -> None:
    """The native kernels have fp32 and 16-bit integers, and oneDNN has fp32, bf16 and 8-bit integers."""
    products = build_role("products:Products")
    ways = products.about()["ways"]
    assert {"float32, native kernels", "float32, oneDNN", "bfloat16, oneDNN", "int8, oneDNN"} <= set(ways)
    for way in ways:
        sample = Sample(**products.measure(0, 12, way=way))
        assert sample.num_tokens == sample.num_rows == sum(len(text.split()) + 2 for text in corpora[MIXTURE].texts)
        assert sample.seconds > 0

"""Weights as the kernels take them: where each number lies, and that integer sums cannot overflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from worker.model.backends.arithmetics import INT16, from_bfloat16, lay_out_panels, lay_out_tiles, to_bfloat16

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUMBERS = st.floats(-10, 10, width=32)


@pytest.mark.parametrize(("dtype", "pair"), [(np.uint16, 2), (np.int8, 4)])
def test_weights_lie_by_panels_steps_and_tiles(dtype: type, pair: int) -> None:
    """Every number is where the tile kernels look for it."""
    weight: NDArray[Any] = (np.arange(64 * 128) % 120).reshape(64, 128).astype(dtype)
    flat = lay_out_tiles(weight).reshape(-1)
    for output, number in [(0, 0), (1, 0), (17, 5), (40, 77), (63, 127)]:
        panel, tile, column = output // 32, output % 32 // 16, output % 16
        step, inside = divmod(number, 16 * pair)
        place = ((((panel * (128 // (16 * pair)) + step) * 2 + tile) * 16 + inside // pair) * 16 + column) * pair + inside % pair
        assert flat[place] == weight[output, number]


@pytest.mark.parametrize(("dtype", "numbers"), [(np.float32, 1), (np.int16, 2), (np.int8, 4)])
@pytest.mark.parametrize("panel", [8, 16, 32])
def test_weights_lie_by_panels_and_steps(dtype: type, numbers: int, panel: int) -> None:
    """Every number is where the vector kernels look for it."""
    weight: NDArray[Any] = (np.arange(64 * 128) % 120).reshape(64, 128).astype(dtype)
    flat = lay_out_panels(weight, panel).reshape(-1)
    for output, number in [(0, 0), (1, 0), (17, 5), (40, 77), (63, 127)]:
        step, inside = divmod(number, numbers)
        place = ((output // panel * (128 // numbers) + step) * panel + output % panel) * numbers + inside
        assert flat[place] == weight[output, number]


@given(arrays.arrays(np.float32, st.tuples(st.just(32), st.sampled_from([32, 384, 416, 1536])), elements=_NUMBERS))
def test_a_sum_of_16_bit_products_cannot_overflow(weight: NDArray[np.float32]) -> None:
    """In no block of inputs: the largest activation times the sum of a row's sizes fits 32 bits."""
    product = INT16.lay_out(weight, 32)
    assert product.scale is not None
    integers = product.weights.transpose(0, 2, 1, 3).reshape(weight.shape).astype(np.int64)
    assert np.abs(integers).max() <= np.iinfo(np.int16).max
    assert 1 <= product.limit <= np.iinfo(np.int16).max
    for first in range(0, weight.shape[1], 384):
        assert np.abs(integers[:, first : first + 384]).sum(axis=1).max() * product.limit < 2**31
    assert np.abs(integers * product.scale[:, None] - weight).max() <= product.scale.max() / 2 * 1.001


@given(arrays.arrays(np.float32, 16, elements=st.floats(width=32, allow_subnormal=False)))
def test_bfloat16_rounds_to_the_nearest(numbers: NDArray[np.float32]) -> None:
    """Numbers that are not finite stay so, and the largest may round to infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = from_bfloat16(to_bfloat16(numbers))
        is_kept = ~np.isfinite(numbers) | ~np.isfinite(found)
        assert (np.isfinite(numbers) | ~np.isfinite(found)).all()
        assert (np.abs(found - numbers)[~is_kept] <= np.abs(numbers[~is_kept]) / 256).all()

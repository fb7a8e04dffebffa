"""Weights lie where the kernels look for them."""

from __future__ import annotations

import pytest
import torch

from worker.model.backends.amx_layout import laid_out, together
from worker.model.backends.native.build import library


@pytest.mark.parametrize(("dtype", "pair"), [(torch.bfloat16, 2), (torch.int8, 4)])
def test_weights_lie_by_panels_steps_and_tiles(dtype: torch.dtype, pair: int) -> None:
    """Every number is where the kernels look for it."""
    weight = torch.arange(64 * 128).remainder(120).view(64, 128).to(dtype)
    flat = laid_out(weight).view(-1)
    for output, number in [(0, 0), (1, 0), (17, 5), (40, 77), (63, 127)]:
        panel, tile, column = output // 32, output % 32 // 16, output % 16
        step, inside = divmod(number, 16 * pair)
        place = ((((panel * (128 // (16 * pair)) + step) * 2 + tile) * 16 + inside // pair) * 16 + column) * pair + inside % pair
        assert flat[place] == weight[output, number]


@pytest.mark.skipif(not library().gist_has_tiles(), reason="needs a processor with tile registers (AMX)")
def test_tensors_lie_together() -> None:
    """Each at the beginning of a step, and those that are not there nowhere."""
    first, second = torch.arange(3.0), torch.arange(40, dtype=torch.int8)
    memory, places = together([first, None, second], library())
    assert places[0] is not None
    assert (places[1], places[2]) == (None, places[0] + 64)
    offset = places[0] - memory.data_ptr()
    assert torch.equal(memory[offset : offset + 12].view(torch.float32), first)
    assert torch.equal(memory[offset + 64 : offset + 104].view(torch.int8), second)

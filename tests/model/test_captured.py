"""The pass that is captured on a GPU: its arithmetic on any machine, the graphs where there is a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from worker.errors import BadModel
from worker.model import checkpoint
from worker.model.backends import choose
from worker.model.captured import Captured, forward
from worker.model.encoder import PackedTensors
from worker.model.native.build import Unavailable
from worker.model.packing import pack

if TYPE_CHECKING:
    from pathlib import Path

    from worker.model.packing import Packed

pytestmark = pytest.mark.model
CPU = torch.device("cpu")


def batch(*lengths: int) -> Packed:
    """Return texts of these lengths."""
    return pack([np.arange(2000, 2000 + it, dtype=np.int32) for it in lengths])


def attend_one_by_one(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, _longest: int) -> Tensor:
    """Attend within each text, as the library's operation for GPUs does."""
    out = torch.zeros_like(query)
    for start, end in zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True):
        own = slice(start, end)
        its = [it[own].transpose(0, 1) for it in (query, key, value)]
        mixed = functional.scaled_dot_product_attention(its[0], its[1], its[2])
        out[own] = mixed.transpose(0, 1)
    return out


@torch.inference_mode()
def test_the_pass_is_that_of_the_encoder(minilm: Path) -> None:
    """With room left over for tokens and for texts, as in a captured one."""
    encoder = checkpoint.load(str(minilm)).encoder
    packed = batch(5, 1, 40)
    expected = encoder(PackedTensors.of(packed, device=CPU, dtype=torch.float32), {0, 3, 6})
    ids, positions = (functional.pad(torch.from_numpy(it), (0, 18)) for it in (packed.ids, packed.positions))
    starts = functional.pad(torch.from_numpy(packed.cu_seqlens), (0, 7), value=46).int()
    found = forward(encoder, ids, positions, starts, {0, 3, 6}, attend_one_by_one)
    for layer, states in expected.items():
        torch.testing.assert_close(found[layer][:46], states, atol=1e-4, rtol=0)


def test_a_format_that_the_attention_does_not_know_is_a_reason(minilm: Path) -> None:
    """The plain way is taken then."""
    with pytest.raises(Unavailable, match="float32"):
        Captured(checkpoint.load(str(minilm)).encoder, device=CPU, dtype=torch.float32)


def test_8_bits_are_for_cpus(minilm: Path) -> None:
    """And the device is named before anything moves there."""
    with pytest.raises(BadModel, match="for CPUs"):
        choose(checkpoint.load(str(minilm)).encoder, "int8", device=torch.device("cuda"), dtype=torch.bfloat16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_a_captured_pass_gives_what_the_encoder_gives(minilm: Path, dtype: torch.dtype) -> None:
    """The first time, when it is replayed with other texts, and with more texts than a graph has room for."""
    encoder = checkpoint.load(str(minilm)).encoder
    captured = Captured(checkpoint.load(str(minilm)).encoder, device=torch.device("cuda"), dtype=dtype)
    for packed in (batch(5, 1, 40), batch(12, 30), batch(*[1] * 60), batch(512, 3, 3)):
        expected = encoder(PackedTensors.of(packed, device=CPU, dtype=torch.float32), {3, 6})
        for layer, states in captured.encode(packed, {3, 6}).items():
            cosines = torch.cosine_similarity(states.float().cpu(), expected[layer], dim=1)
            assert cosines.min() >= 0.999

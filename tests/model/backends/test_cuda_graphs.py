"""The pass that is captured on a GPU: its arithmetic on any machine, the graphs where there is a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from worker.errors import BadModel
from worker.model.backends.choice import choose
from worker.model.backends.cuda_graphs import CudaGraphs, CudaGraphShape, forward, warm_lengths
from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.reads_layers import read_states
from worker.model.checkpoint import checkpoint
from worker.model.encoder.packed_tensors import PackedTensors
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.heads.readout import Readout
from worker.model.text.packing import pack, padded_for_capture

if TYPE_CHECKING:
    from pathlib import Path

    from worker.model.text.packing import Packed

pytestmark = pytest.mark.model
CPU = torch.device("cpu")


def batch(*lengths: int) -> Packed:
    """Return texts of these lengths."""
    return pack([np.arange(2000, 2000 + length, dtype=np.int32) for length in lengths])


def attend_one_by_one(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, _longest: int) -> Tensor:
    """Attend within each text, as the library's operation for GPUs does."""
    out = torch.zeros_like(query)
    for start, end in zip(cu_seqlens[:-1].tolist(), cu_seqlens[1:].tolist(), strict=True):
        own = slice(start, end)
        queries, keys, values = (projected[own].transpose(0, 1) for projected in (query, key, value))
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        out[own] = mixed.transpose(0, 1)
    return out


@pytest.mark.parametrize(("lengths", "num_texts"), [((5, 1, 40), 10), ((5, 1, 40), 4), ((5, 1, 58), 10), ((5, 1, 58), 4)])
@torch.inference_mode()
def test_the_pass_is_that_of_the_encoder(minilm: Path, lengths: tuple[int, ...], num_texts: int) -> None:
    """With room left over for tokens and for some texts, as in a captured one, or for none but the last, which is nobody's."""
    encoder = checkpoint.load(str(minilm)).encoder
    packed = batch(*lengths)
    readings = [Readout(((0, 1.0),), None), Readout(((3, 0.25), (6, 0.75)), "mean"), Readout(((6, 1.0),), "cls")]
    shape = CudaGraphShape(64, num_texts, 128)
    found = forward(encoder, torch.from_numpy(shape.inputs(packed)), shape, readings, attend_one_by_one)
    states = encoder(PackedTensors.from_packed(packed, device=CPU, dtype=torch.float32), {0, 3, 6})
    for result, reading, num_rows in zip(found, readings, (sum(lengths), 3, 3), strict=True):
        expected = read_states(reading, states, torch.from_numpy(packed.cu_seqlens))
        torch.testing.assert_close(result[:num_rows], expected, atol=1e-4, rtol=0)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=80), st.sampled_from([128, 256, 512]))
def test_a_shape_has_room_for_its_texts(lengths: list[int], longest: int) -> None:
    """For tokens, texts and the longest of them, at the smallest of the sizes; or there are too many of them."""
    packed = batch(*(min(length, longest) for length in lengths))
    shape = CudaGraphShape.find(packed, longest)
    if shape is None:
        assert len(lengths) > padded_for_capture(len(packed.ids)) // 4
        return
    assert shape.num_tokens == padded_for_capture(len(packed.ids))
    # One more, for what is past the end.
    assert shape.num_texts > len(lengths)
    assert longest >= shape.longest >= packed.lengths.max()
    ids, positions, starts = np.split(shape.inputs(packed), [shape.num_tokens, 2 * shape.num_tokens])
    np.testing.assert_array_equal(ids[: len(packed.ids)], packed.ids)
    np.testing.assert_array_equal(positions[: len(packed.ids)], packed.positions)
    assert starts.tolist() == packed.cu_seqlens.tolist() + [len(packed.ids)] * (shape.num_texts - len(lengths))


@given(st.lists(st.integers(4, 512), min_size=1, max_size=300))
def test_the_batches_of_a_warm_up_have_every_shape_that_comes(lengths: list[int]) -> None:
    """So that none is captured while somebody waits, up to the largest of them."""
    packed = batch(*lengths[: max(1, int(np.searchsorted(np.cumsum(lengths), 16_384)))])
    warm = {CudaGraphShape.find(batch(*lengths), 512) for lengths in warm_lengths(512)}
    assert CudaGraphShape.find(packed, 512) in warm


def test_a_format_that_the_attention_does_not_know_is_a_reason(minilm: Path) -> None:
    """The plain way is taken then."""
    with pytest.raises(BackendUnavailable, match="float32"):
        CudaGraphs(checkpoint.load(str(minilm)).encoder, device=CPU, dtype=torch.float32)


def test_8_bits_are_for_cpus(minilm: Path) -> None:
    """And the device is named before anything moves there."""
    with pytest.raises(BadModel, match="no products in int8"):
        choose(checkpoint.load(str(minilm)).weights, "auto", device="cuda", dtype="int8")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_a_captured_pass_gives_what_the_encoder_gives(minilm: Path, dtype: torch.dtype) -> None:
    """The first time, when it is replayed with other texts, and with more texts than a graph has room for."""
    encoder = checkpoint.load(str(minilm)).encoder
    captured = CudaGraphs(checkpoint.load(str(minilm)).encoder, device=torch.device("cuda"), dtype=dtype)
    for packed in (batch(5, 1, 40), batch(12, 30), batch(*[1] * 60), batch(512, 3, 3)):
        expected = encoder(PackedTensors.from_packed(packed, device=CPU, dtype=torch.float32), {3, 6})
        for layer, states in captured.encode(packed, {3, 6}).items():
            cosines = torch.cosine_similarity(states.float().cpu(), expected[layer], dim=1)
            assert cosines.min() >= 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_a_captured_pass_reads_what_heads_say(minilm: Path) -> None:
    """Of a text and of its tokens, from a mix of layers, as the encoder in fp32 does; in any shape, and with none."""
    head = Head(HeadConfig(name="tags", task="ner", labels=("O", "B-X", "I-X"), layers=(2, 6), hidden_size=64), 384)
    readings = [Readout(head.weights, None, head), Readout(((6, 1.0),), "mean")]
    encoder = checkpoint.load(str(minilm)).encoder
    on_gpu = Head(head.config, 384)
    on_gpu.load_state_dict(head.state_dict())
    captured = CudaGraphs(checkpoint.load(str(minilm)).encoder, device=torch.device("cuda"), dtype=torch.bfloat16)
    captured_readings = [Readout(head.weights, None, on_gpu.to("cuda")), readings[1]]
    for packed in (batch(7, 20), batch(*[11] * 4), batch(*[4] * 16), batch(*[30] * 40), batch(200, 5), batch(*[1] * 60)):
        states = encoder(PackedTensors.from_packed(packed, device=CPU, dtype=torch.float32), {2, 6})
        for found, reading in zip(captured.read(packed, captured_readings), readings, strict=True):
            expected = read_states(reading, states, torch.from_numpy(packed.cu_seqlens))
            assert found.shape == expected.shape
            torch.testing.assert_close(found.float().cpu(), expected, atol=0.1, rtol=0.1)

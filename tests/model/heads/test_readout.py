"""What is read of a pass, and what heads say of it, is the same whether a backend gathers it on the way or hands out its states."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.model.backends.tensors import encode, read
from worker.model.backends.choice import Backend, BackendName, Format, choose
from worker.model.backends.reads_layers import ReadsLayers, read_states
from worker.model.checkpoint import checkpoint
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.heads.readout import Readout
from worker.model.text.packing import pack
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from worker.model.pooling.pooling import Pooling

pytestmark = pytest.mark.model
READINGS = [
    Readout(((6, 1.0),), None),
    Readout(((0, 1.0),), None),
    Readout(((2, 0.5), (4, 0.3), (6, 0.2)), None),
    Readout(((6, 1.0),), "mean"),
    Readout(((1, 0.25), (5, 0.75)), "mean"),
    Readout(((3, 1.0),), "cls"),
    Readout(((3, 0.4), (6, 0.6)), "cls"),
]


# Heads that are linear and that have a hidden layer, for texts and tokens, with few labels and with many.
HEADS: list[tuple[dict[str, Any], Pooling | None]] = [
    ({"task": "classify", "labels": ("no", "yes"), "hidden_size": 128}, "mean"),
    ({"task": "classify", "labels": ("a", "b", "c")}, "cls"),
    ({"task": "classify", "labels": ("no", "yes"), "hidden_size": 256, "has_attention": True}, None),
    ({"task": "ner", "labels": ("O", "B-A", "I-A"), "hidden_size": 40}, None),
    ({"task": "ner", "labels": tuple(map(str, range(37))), "hidden_size": 600}, None),
    ({"task": "ner", "labels": tuple(map(str, range(16)))}, None),
]


every_way = pytest.mark.parametrize(
    ("name", "dtype"),
    [("eager", "float32"), ("eager", "bfloat16"), *(("compiled", dtype) for dtype in ("float32", "int16", "bfloat16", "int8"))],
)


@lru_cache
def backend(name: BackendName, dtype: Format) -> Backend:
    """Return a backend for the default model."""
    loaded = checkpoint.load(DEFAULT_MODEL)
    with torch.inference_mode():
        return choose(loaded.weights, name, device="cpu", dtype=dtype, ranges=loaded.ranges)[0]


@every_way
@torch.inference_mode()
def test_readings_are_mixes_of_the_states(name: BackendName, dtype: Format) -> None:
    """For each token or each text, whatever else is read of the same pass."""
    found = backend(name, dtype)
    packed = pack([np.arange(1000, 1000 + length, dtype=np.int32) for length in (1, 7, 30, 300, 64)])
    states = encode(found, packed, range(7))
    for reading, result in zip(READINGS, read(found, packed, READINGS), strict=True):
        expected = read_states(reading, states, torch.from_numpy(packed.cu_seqlens))
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        tolerance = 1e-5 if dtype in {"float32", "int16"} else 2e-2
        torch.testing.assert_close(result, expected, atol=tolerance, rtol=tolerance)


@every_way
@torch.inference_mode()
def test_heads_speak_on_the_way(name: BackendName, dtype: Format) -> None:
    """Their logits are those of the mix that they read."""
    found = backend(name, dtype)
    packed = pack([np.arange(1000, 1000 + length, dtype=np.int32) for length in (1, 7, 30, 300, 64)])
    torch.manual_seed(0)
    for config, pooling in HEADS:
        head = Head(HeadConfig(name="any", layers=(2, 4, 6), **config), 384).eval()
        for norm in (head.norm.weight, head.norm.bias):
            torch.nn.init.normal_(norm, 1)
        reading = Readout(head.weights, pooling, head)
        mixed = read_states(replace(reading, head=None), encode(found, packed, {2, 4, 6}), torch.from_numpy(packed.cu_seqlens))
        _, logits = read(found, packed, [READINGS[0], reading])
        expected = head.read(mixed)
        assert (logits.shape, logits.dtype) == (expected.shape, torch.float32)
        tolerance = 1e-5 if dtype in {"float32", "int16"} else 2e-2
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)


@every_way
def test_rows_for_nothing_are_few(name: BackendName, dtype: Format) -> None:
    """A full batch of short texts computes at most a twentieth for nothing."""
    lengths = np.clip(np.random.default_rng(0).lognormal(3.2, 0.6, 140).astype(int), 5, 256)
    packed = pack([np.arange(1000, 1000 + length, dtype=np.int32) for length in lengths])
    assert len(packed.ids) <= backend(name, dtype).num_rows(packed) <= len(packed.ids) / 0.95


def test_a_backend_without_states_cannot_be_read() -> None:
    """It says so."""
    with pytest.raises(NotImplementedError):
        ReadsLayers().read(pack([np.array([1], dtype=np.int32)]), READINGS)

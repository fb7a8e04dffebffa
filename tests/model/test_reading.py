"""What is read of a pass is the same whether a backend gathers it on the way or hands out its states."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

from worker.model import checkpoint
from worker.model.backends import Backend, BackendName, choose
from worker.model.packing import pack
from worker.model.reading import Readable, Reading
from worker.settings import DEFAULT_MODEL

pytestmark = pytest.mark.model
READINGS = [
    Reading(((6, 1.0),), None),
    Reading(((0, 1.0),), None),
    Reading(((2, 0.5), (4, 0.3), (6, 0.2)), None),
    Reading(((6, 1.0),), "mean"),
    Reading(((1, 0.25), (5, 0.75)), "mean"),
    Reading(((3, 1.0),), "cls"),
    Reading(((3, 0.4), (6, 0.6)), "cls"),
]


@lru_cache
def backend(name: BackendName, dtype: torch.dtype) -> Backend:
    """Return a backend for the default model."""
    loaded = checkpoint.load(DEFAULT_MODEL)
    with torch.inference_mode():
        return choose(loaded.encoder, name, device=torch.device("cpu"), dtype=dtype, ranges=loaded.ranges)[0]


@pytest.mark.parametrize("name", ["eager", "compiled", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_readings_are_mixes_of_the_states(name: BackendName, dtype: torch.dtype) -> None:
    """For each token or each text, whatever else is read of the same pass."""
    found = backend(name, dtype)
    packed = pack([np.arange(1000, 1000 + it, dtype=np.int32) for it in (1, 7, 30, 300, 64)])
    states = found.encode(packed, range(7))
    for reading, read in zip(READINGS, found.read(packed, READINGS), strict=True):
        expected = reading.of(states, torch.from_numpy(packed.cu_seqlens))
        assert (read.shape, read.dtype) == (expected.shape, expected.dtype)
        tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-5
        torch.testing.assert_close(read, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", ["eager", "compiled", "int8"])
def test_rows_for_nothing_are_few(name: BackendName) -> None:
    """A full batch of short texts computes at most a twentieth for nothing."""
    lengths = np.clip(np.random.default_rng(0).lognormal(3.2, 0.6, 140).astype(int), 5, 256)
    packed = pack([np.arange(1000, 1000 + it, dtype=np.int32) for it in lengths])
    for dtype in (torch.float32, torch.bfloat16):
        assert len(packed.ids) <= backend(name, dtype).num_rows(packed) <= len(packed.ids) / 0.95


def test_a_backend_without_states_cannot_be_read() -> None:
    """It says so."""
    with pytest.raises(NotImplementedError):
        Readable().read(pack([np.array([1], dtype=np.int32)]), READINGS)

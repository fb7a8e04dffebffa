"""Tensors of a published file are mapped, and those of other formats are widened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from worker.errors import BadModel
from worker.model.backends.arithmetics import from_bfloat16, to_bfloat16
from worker.model.checkpoint.mapped_tensors import map_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def test_fp32_is_mapped_and_other_formats_are_widened(tmp_path: Path) -> None:
    """The views are read-only, at any place of the file; all numbers are those of the file."""
    numbers = np.random.default_rng(0).standard_normal((7, 2_049), dtype=np.float32)
    tensors: dict[str, NDArray[Any]] = {
        "first": numbers,
        "half": numbers.astype(np.float16),
        "double": numbers.astype(np.float64),
        "last": numbers[:1] + 1,
    }
    save_file(tensors, tmp_path / "weights")
    found = map_tensors(tmp_path / "weights", tensors)
    assert not found["first"].flags.writeable
    assert not found["first"].flags.owndata
    for name, tensor in tensors.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], tensor.astype(np.float32))


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    """A number in bfloat16 is the first half of its fp32."""
    bits = to_bfloat16(np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4))
    header = json.dumps({"narrow": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, bits.nbytes]}}).encode()
    (tmp_path / "weights").write_bytes(len(header).to_bytes(8, "little") + header + bits.tobytes())
    assert np.array_equal(map_tensors(tmp_path / "weights", ["narrow"])["narrow"], from_bfloat16(bits))


def test_integers_are_refused(tmp_path: Path) -> None:
    """The error names the tensor and its format."""
    save_file({"numbers": np.ones(3, dtype=np.int8)}, tmp_path / "weights")
    with pytest.raises(BadModel, match="numbers holds I8, and weights of BF16, F16, F32, F64 are read"):
        map_tensors(tmp_path / "weights", ["numbers"])

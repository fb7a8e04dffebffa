"""OpenVINO: what the other backends do not have; `test_backends` holds it to the reference as it does them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from worker.errors import BadModel
from worker.model.backends.choice import choose
from worker.model.backends.openvino import OpenVino
from worker.model.encoder import Encoder, EncoderConfig
from worker.model.encoder import PackedTensors as Tensors
from worker.model.packing import pack

if TYPE_CHECKING:
    from worker.model.packing import Packed

pytest.importorskip("openvino", reason="the extra openvino is not installed")
CPU = torch.device("cpu")


def small(**changes: Any) -> Encoder:
    """Return a small encoder with random weights."""
    shape = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    return Encoder(EncoderConfig(**(shape | {"max_position_embeddings": 300} | changes))).eval().requires_grad_(requires_grad=False)


def texts(*lengths: int) -> Packed:
    """Return texts of any tokens."""
    drawn = np.random.default_rng(0)
    return pack([drawn.integers(0, 100, it).astype(np.int32) for it in lengths])


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
@torch.inference_mode()
def test_every_activation_is_the_same_as_pytorchs(activation: str) -> None:
    """In texts that lie in rows of three lengths."""
    encoder, packed = small(hidden_act=activation), texts(3, 70, 300, 1, 64)
    expected = encoder(Tensors.of(packed, device=CPU, dtype=torch.float32), [1, 2])
    found = OpenVino(encoder, dtype=torch.float32).encode(packed, [1, 2])
    for layer in (1, 2):
        torch.testing.assert_close(found[layer], expected[layer], atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_result_outlives_the_next_pass() -> None:
    """Though the runtime writes every pass into the same memory."""
    runtime = OpenVino(small(), dtype=torch.float32)
    first = runtime.encode(texts(9, 4), [0, 2])
    kept = {layer: it.clone() for layer, it in first.items()}
    runtime.encode(texts(30, 2, 70), [0, 2])
    for layer in (0, 2):
        torch.testing.assert_close(first[layer], kept[layer], atol=0, rtol=0)


@torch.inference_mode()
def test_states_are_of_the_format_that_was_asked_for() -> None:
    """Which the heads are told."""
    runtime = OpenVino(small(), dtype=torch.bfloat16)
    assert runtime.dtype == runtime.encode(texts(5), [1])[1].dtype == torch.bfloat16


def test_other_formats_are_refused() -> None:
    """And which it knows is said."""
    with pytest.raises(BadModel, match=r"not in torch\.float16"):
        choose(small(), "openvino", device=CPU, dtype=torch.float16)


def test_a_runtime_that_does_not_work_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the last line of what it says, which is the reason."""

    class Broken:
        def compile_model(self, *_: object) -> None:
            raise RuntimeError("Exception from core.cpp:1:\nno such device\n")

    monkeypatch.setattr("openvino.Core", Broken)
    with pytest.raises(BadModel, match="OpenVINO does not work here: no such device"):
        choose(small(), "openvino", device=CPU, dtype=torch.float32)

"""The compiled kernels against torch's own operations, for any lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.native.kernels import GELU_MINIMUM, Kernels, Norm
from worker.model.encoder import EncoderConfig

TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2e-2}
SHAPE: dict[str, Any] = {
    "vocab_size": 8,
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 8,
}


def starts_of(lengths: list[int]) -> Tensor:
    """Return where texts of these lengths start and end."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def attention(query_key_value: Tensor, lengths: list[int], num_heads: int) -> Tensor:
    """Return what torch gives for each text alone, in fp32."""
    texts = []
    for text in torch.split(query_key_value.float(), lengths):
        query, key, value = text.view(len(text), 3, num_heads, -1).permute(1, 2, 0, 3)
        texts.append(nn.functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(len(text), -1))
    return torch.cat(texts)


def norm(width: int) -> tuple[nn.LayerNorm, Norm]:
    """Return a layer norm that does something, and the kernels' view of it."""
    layer = nn.LayerNorm(width, eps=1e-12)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer, Norm(layer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [32, 64])
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=9), seed=st.integers(0, 9))
def test_attention_stays_within_each_text(dtype: torch.dtype, width: int, lengths: list[int], seed: int) -> None:
    """Whatever stands beside it; what is past the last text is zero."""
    torch.manual_seed(seed)
    query_key_value = torch.randn(sum(lengths) + 3, 3 * 2 * width).to(dtype)
    found = Kernels(dtype).attend(query_key_value, starts_of(lengths), 2)
    expected = attention(query_key_value[:-3], lengths, 2)
    torch.testing.assert_close(found[:-3].float(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    assert not found[-3:].any()


def test_the_longest_texts_are_attended_to_the_end() -> None:
    """512 tokens, with scores so large that their exponentials would overflow."""
    query_key_value = 5 * torch.randn(513, 96)
    found = Kernels(torch.float32).attend(query_key_value, starts_of([512, 1]), 1)
    torch.testing.assert_close(found, attention(query_key_value, [512, 1], 1), atol=1e-3, rtol=1e-3)


def test_what_is_not_a_number_stays_so() -> None:
    """In its own text, and only there."""
    query_key_value = torch.randn(8, 96)
    query_key_value[1, 40] = torch.nan
    found = Kernels(torch.float32).attend(query_key_value, starts_of([4, 4]), 1)
    assert found[:4].isnan().any(1).all()
    assert found[4:].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(max_examples=10)
@given(num_tokens=st.integers(1, 40), width=st.sampled_from([16, 384]), seed=st.integers(0, 9))
def test_a_sum_is_normalised(dtype: torch.dtype, num_tokens: int, width: int, seed: int) -> None:
    """As the layer norm does it."""
    torch.manual_seed(seed)
    layer, parameters = norm(width)
    x, y = (3 * torch.randn(num_tokens, width) + 1).to(dtype), torch.randn(num_tokens, width).to(dtype)
    found = Kernels(dtype).add_norm(x, y, parameters)
    torch.testing.assert_close(found.float(), layer(x.float() + y.float()).detach(), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_bytes_are_the_numbers_in_steps() -> None:
    """Of the norm, with what was added on the way, and of the attention; what is out of range stays at the end of it."""
    kernels, (layer, parameters) = Kernels(torch.float32), norm(64)
    x, y, shift, scale = torch.randn(9, 64), torch.randn(9, 64), torch.randn(64), 30 * torch.rand(64) + 60
    token_scale = torch.rand(9)
    out, quantized = kernels.add_norm_quantize(x, y, parameters, scale, token_scale=token_scale, shift=shift)
    torch.testing.assert_close(out, layer(x * token_scale[:, None] + shift + y).detach(), atol=2e-5, rtol=2e-5)
    expected = (out * scale).round().add(128).clamp(0, 255)
    assert (quantized.float() - expected).abs().max() <= 1
    assert {0, 255} <= set(quantized.flatten().tolist())
    query_key_value = torch.randn(9, 192)
    attended = kernels.attend(query_key_value, starts_of([4, 5]), 2)
    in_bytes = kernels.attend(query_key_value, starts_of([4, 5]), 2, scale)
    assert (in_bytes.float() - (attended * scale).round().add(128).clamp(0, 255)).abs().max() <= 1


def test_an_activation_has_a_step_for_each_token() -> None:
    """The largest of each token is the last byte, and every other within half a step."""
    x = torch.randn(7, 64) * torch.tensor([0.1, 1, 3, 10, 0, 50, 1])[:, None]
    quantized, steps = Kernels(torch.float32).gelu_quantize(x)
    found = quantized.float() * steps[:, None] + GELU_MINIMUM
    assert ((found - nn.functional.gelu(x)).abs() <= 0.51 * steps[:, None] + 1e-6).all()
    assert (quantized.amax(1)[[0, 1, 2, 3, 5, 6]] == 255).all()


@pytest.mark.parametrize("changed", [{"num_attention_heads": 4}, {"intermediate_size": 72}, {"intermediate_size": 32_768}])
def test_a_shape_that_is_not_compiled_is_a_reason(changed: dict[str, int]) -> None:
    """The next way is taken then."""
    Kernels.check_shape(EncoderConfig(**SHAPE))
    with pytest.raises(BackendUnavailable, match="compiled for"):
        Kernels.check_shape(EncoderConfig(**SHAPE | changed))


def test_a_number_format_that_is_not_compiled_is_a_reason() -> None:
    """fp16 is for GPUs."""
    with pytest.raises(BackendUnavailable, match="float16"):
        Kernels(torch.float16)


def test_threads_of_its_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pools on the same cores are many times slower than one."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    with pytest.raises(BackendUnavailable, match="two OpenMP libraries"):
        Kernels(torch.float32)

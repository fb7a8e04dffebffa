"""8-bit products: the calibration matters, a text has the same states in any company, and nothing runs where it cannot."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.backends.tensors import encode
from worker.errors import BadModel
from worker.model.backends.choice import Backend, choose
from worker.model.checkpoint import checkpoint
from worker.model.encoder.quantization import measure_ranges, passes
from worker.model.text.packing import pack
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.model
TEXTS = [
    "Ada Lovelace moved to London.",
    "Awful. I hated every minute of it, and so did everybody else in the room!",
    "ok",
    "The ministers of finance of the eleven countries met in Paris on Tuesday to talk about the price of bread.",
]


@lru_cache
def model() -> checkpoint.Checkpoint:
    """Return the shipped model, which is calibrated."""
    return checkpoint.load(DEFAULT_MODEL)


@lru_cache
def backend() -> Backend:
    """Return its encoder with 8-bit products."""
    with torch.inference_mode():
        return choose(model().weights, "compiled", device="cpu", dtype="int8", ranges=model().ranges)[0]


@torch.inference_mode()
def last_states(found: Backend, texts: list[str]) -> list[torch.Tensor]:
    """Return the last states of each text, packed into one batch."""
    packed = pack([tokens.ids for tokens in model().tokenizer.encode(texts)])
    states = encode(found, packed, {model().encoder.config.num_hidden_layers})
    return list(torch.split(next(iter(states.values())).float(), packed.lengths.tolist()))


def cosines(ranges: dict[str, NDArray[np.float32]]) -> Any:
    """Return the cosine of each text's mean with that of plain PyTorch, under some calibration."""
    with torch.inference_mode():
        exact, _ = choose(model().weights, "eager", device="cpu", dtype="float32")
        found, _ = choose(model().weights, "compiled", device="cpu", dtype="int8", ranges=ranges)
    pairs = zip(last_states(exact, TEXTS), last_states(found, TEXTS), strict=True)
    return np.array([float(torch.cosine_similarity(one.mean(0), other.mean(0), dim=0)) for one, other in pairs])


@pytest.mark.int8
@settings(max_examples=10)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=9))
def test_company_does_not_matter(texts: list[str]) -> None:
    """No step of a text depends on its neighbours: the states are the same as alone, but for the order of sums."""
    alone = {text: last_states(backend(), [text])[0] for text in set(texts)}
    for text, states in zip(texts, last_states(backend(), texts), strict=True):
        assert torch.cosine_similarity(states, alone[text], dim=1).min() >= 0.995


@pytest.mark.int8
def test_only_the_layers_that_were_asked_for_are_given() -> None:
    """Their states are finite."""
    packed = pack([tokens.ids for tokens in model().tokenizer.encode(TEXTS)])
    with torch.inference_mode():
        states = encode(backend(), packed, {1, 4})
    assert set(states) == {1, 4}
    for state in states.values():
        assert state.shape == (len(packed.ids), 384)
        assert state.isfinite().all()


@pytest.mark.int8
def test_int8_is_as_close_to_fp32_as_its_calibration_found() -> None:
    """Calibrated on the texts themselves, 8-bit products are close to fp32."""
    assert cosines(measure_ranges(model().encoder, passes(model().tokenizer.encode(TEXTS)))).min() >= 0.99


@pytest.mark.parametrize("changed", [{"ranges": None}, {"device": "cuda"}])
def test_an_unusable_backend_has_a_reason_in_one_line(changed: dict[str, Any]) -> None:
    """Without a calibration, and on a GPU."""
    options: dict[str, Any] = {"device": "cpu", "dtype": "int8", "ranges": model().ranges} | changed
    with pytest.raises(BadModel, match=r"the backend compiled cannot run here: .*(calibrated|no products in int8)"):
        choose(model().weights, "compiled", **options)

"""The encoder on tile registers: a group of texts never shows in the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.model.backends.amx import AmxBackend, check_shape
from worker.model.backends.native.build import BackendUnavailable, library
from worker.model.encoder import Encoder, EncoderConfig
from worker.model.packing import pack
from worker.model.readout import Readout

SHAPE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 448,
    "max_position_embeddings": 600,
}
HAS_TILES = bool(library().gist_has_tiles())
needs_tiles = pytest.mark.skipif(not HAS_TILES, reason="needs a processor with tile registers (AMX)")


def encoder(**changed: int) -> Encoder:
    """Return a small encoder with random weights."""
    torch.manual_seed(0)
    return Encoder(EncoderConfig(**SHAPE | changed)).eval()


@pytest.mark.parametrize(
    "changed", [{"num_attention_heads": 8}, {"hidden_size": 96, "num_attention_heads": 3}, {"intermediate_size": 224}]
)
def test_a_shape_that_does_not_fit_is_a_reason(changed: dict[str, int]) -> None:
    """The next way is taken then."""
    check_shape(EncoderConfig(**SHAPE))
    with pytest.raises(BackendUnavailable, match="fit the tiles"):
        check_shape(EncoderConfig(**SHAPE | changed))
    with pytest.raises(BackendUnavailable, match="GELU, not relu"):
        check_shape(EncoderConfig(**SHAPE, hidden_act="relu"))


@pytest.mark.skipif(HAS_TILES, reason="this processor has tile registers")
def test_without_tile_registers_the_next_way_is_taken() -> None:
    """With the reason."""
    with pytest.raises(BackendUnavailable, match="no tile registers"):
        AmxBackend(encoder())


@needs_tiles
@pytest.mark.parametrize(("sequence", "reason"), [([1, 50], "none of the 50"), ([-1], "none of the 50"), ([1] * 601, "600 places")])
def test_what_the_tables_do_not_hold_is_refused(sequence: list[int], reason: str) -> None:
    """As PyTorch refuses it: nobody reads memory that is not the model's."""
    with pytest.raises(IndexError, match=reason):
        AmxBackend(encoder()).encode(pack([np.array(sequence, dtype=np.int32)]), {1})


@needs_tiles
@pytest.mark.parametrize("heads", [{"num_attention_heads": 4}, {"num_attention_heads": 2}])
@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=40), st.integers(0, 600))
def test_texts_do_not_see_each_other(heads: dict[str, int], lengths: list[int], longest: int) -> None:
    """A text alone, and beside any others, in any group, gives the same states to the last bit."""
    backend = AmxBackend(encoder(**heads))
    texts = [np.arange(it, dtype=np.int32) % 50 for it in [*lengths, max(1, longest)]]
    packed = pack(texts)
    states = backend.encode(packed, {0, 1, 2})
    for number in (0, len(texts) - 1):
        alone = backend.encode(pack([texts[number]]), {0, 1, 2})
        own = slice(packed.cu_seqlens[number], packed.cu_seqlens[number + 1])
        for layer, found in states.items():
            assert torch.equal(found[own], alone[layer])


@needs_tiles
def test_a_pass_that_gives_way_stops_between_groups() -> None:
    """And says what it would have said without."""
    backend, packed = AmxBackend(encoder()), pack([np.arange(it, dtype=np.int32) % 50 for it in (300, 7, 350, 290, 310, 12, 280)])
    readings = [Readout(((1, 0.5), (2, 0.5)), "mean"), Readout(((2, 1.0),), None)]
    stops: list[None] = []
    given_way = backend.read(packed, readings, lambda: stops.append(None))
    assert len(stops) > 1
    for one, other in zip(given_way, backend.read(packed, readings), strict=True):
        assert torch.equal(one, other)


@needs_tiles
@pytest.mark.parametrize("heads", [{"num_attention_heads": 4}, {"num_attention_heads": 2}])
@pytest.mark.parametrize("is_8_bit", [False, True])
def test_any_shape_that_fits_gives_what_the_reference_gives(heads: dict[str, int], *, is_8_bit: bool) -> None:
    """Heads of 32 and 64 numbers, and a feed-forward that is not a whole number of pieces."""
    from worker.model.backends.choice import Eager  # noqa: PLC0415  beside what it is compared with
    from worker.model.quantization import measure_ranges  # noqa: PLC0415  the same

    packed = pack([np.arange(it, dtype=np.int32) % 50 for it in (3, 33, 64, 200)])
    ranges = measure_ranges(encoder(**heads), iter([packed])) if is_8_bit else None
    with torch.inference_mode():
        found = AmxBackend(encoder(**heads), ranges=ranges).encode(packed, {2})[2].float()
        exact = Eager(encoder(**heads), device=torch.device("cpu"), dtype=torch.float32).encode(packed, {2})[2]
    assert torch.cosine_similarity(found, exact, dim=1).min() > (0.99 if is_8_bit else 0.9995)

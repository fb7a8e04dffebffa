"""The native engine in every arithmetic of this machine: as PyTorch in fp32, and no text changes another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.backends import native as ways
from tests.model.backends.tensors import encode, read
from worker.batches import PassContext, Priority
from worker.host import count_cores
from worker.model.backends.arithmetics import BFLOAT16_TILES, FLOAT32, INT8, Arithmetic
from worker.model.backends.compiled import Compiled
from worker.model.backends.eager import Eager
from worker.model.backends.native.build import VARIANTS, BackendUnavailable, Variant, load_fastest
from worker.model.backends.native_encoder import check_shape
from worker.model.encoder.encoder import to_weights
from worker.model.encoder.encoder_config import EncoderConfig
from worker.model.encoder.quantization import measure_ranges
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.heads.readout import Readout
from worker.model.text.packing import pack

if TYPE_CHECKING:
    from worker.model.text.packing import Packed

every_vector_way = pytest.mark.parametrize(
    ("variant", "arithmetic"),
    [way for way in ways.WAYS if not way[1].is_tiled],
    ids=[name for way, name in zip(ways.WAYS, ways.IDS, strict=True) if not way[1].is_tiled],
)
every_way = pytest.mark.parametrize(("variant", "arithmetic"), ways.WAYS, ids=ways.IDS)
# The smallest cosine of a state to PyTorch in fp32.
LEAST_COSINE = {"float32": 0.9999999, "int16": 0.99999, "bfloat16": 0.9995, "int8": 0.99}


def build_texts(*lengths: int) -> Packed:
    """Return texts of some lengths."""
    return pack([np.arange(length, dtype=np.int32) % 50 for length in lengths])


@torch.inference_mode()
def read_eagerly(packed: Packed, readouts: list[Readout], **changed: Any) -> list[torch.Tensor]:
    """Return what PyTorch reads in fp32."""
    eager = Eager(ways.build_small_encoder(**changed), device=torch.device("cpu"), dtype=torch.float32)
    return eager.read(packed, readouts)


def smallest_cosine(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the smallest cosine of two rows."""
    return float(torch.cosine_similarity(found.double(), exact.double(), dim=1).min())


@every_way
@pytest.mark.parametrize("num_heads", [4, 2])
def test_states_are_those_of_pytorch(variant: Variant, arithmetic: Arithmetic, num_heads: int) -> None:
    """With heads of 32 and 64 numbers, and a feed-forward that is not a whole number of pieces, alone and packed."""
    packed, encoder = build_texts(3, 33, 1, 64, 200, 599), ways.build_small_encoder(num_attention_heads=num_heads)
    ranges = measure_ranges(encoder, iter([packed])) if arithmetic.is_calibrated else None
    backend = Compiled(to_weights(encoder), arithmetic, variant=variant, ranges=ranges)
    for some in (packed, build_texts(33), build_texts(1)):
        exact = read_eagerly(some, [Readout(((2, 1.0),), None), Readout(((2, 1.0),), "mean")], num_attention_heads=num_heads)
        found = [encode(backend, some, {2})[2], *read(backend, some, [Readout(((2, 1.0),), "mean")])]
        assert min(map(smallest_cosine, found, exact)) >= LEAST_COSINE[arithmetic.name]


@every_vector_way
def test_an_encoder_of_any_width_runs(variant: Variant, arithmetic: Arithmetic) -> None:
    """Heads of 26 numbers and a feed-forward of 100: states, vectors and logits are those of PyTorch, with as many numbers."""
    packed, changed = build_texts(3, 33, 1, 64), {"hidden_size": 78, "num_attention_heads": 3, "intermediate_size": 100}
    encoder, layers = ways.build_small_encoder(**changed), ((1, 0.4), (2, 0.6))
    ranges = measure_ranges(encoder, iter([packed])) if arithmetic.is_calibrated else None
    head = Head(HeadConfig(name="h", task="classify", labels=("a", "b", "c"), layers=(1, 2), hidden_size=24), 78).eval()
    readouts = [Readout(layers, None), Readout(layers, "mean"), Readout(layers, "mean", head), Readout(layers, "max", head)]
    exact = read_eagerly(packed, readouts, **changed)
    found = read(Compiled(to_weights(encoder), arithmetic, variant=variant, ranges=ranges), packed, readouts)
    assert [other.shape for other in found] == [own.shape for own in exact]
    assert min(map(smallest_cosine, found, exact)) >= LEAST_COSINE[arithmetic.name]


@pytest.mark.parametrize(("variant", "arithmetic"), ways.EXACT, ids=lambda variant: variant.name)
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
def test_float32_is_exact_with_every_activation(variant: Variant, arithmetic: Arithmetic, hidden_act: str) -> None:
    """Every number of a state is that of PyTorch to five digits."""
    packed = build_texts(7, 130, 250)
    backend = Compiled(to_weights(ways.build_small_encoder(hidden_act=hidden_act)), arithmetic, variant=variant)
    (exact,) = read_eagerly(packed, [Readout(((2, 1.0),), None)], hidden_act=hidden_act)
    torch.testing.assert_close(encode(backend, packed, {2})[2], exact, atol=2e-5, rtol=0)


@every_way
@pytest.mark.parametrize("num_heads", [4, 2])
@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=40), st.integers(0, 600))
def test_texts_do_not_see_each_other(
    variant: Variant, arithmetic: Arithmetic, num_heads: int, lengths: list[int], longest: int
) -> None:
    """A text alone, and beside any others, in any group, gives the same states to the last bit."""
    backend = ways.compile_small(variant, arithmetic, num_heads)
    texts = [np.arange(length, dtype=np.int32) % 50 for length in [*lengths, max(1, longest)]]
    packed = pack(texts)
    states = encode(backend, packed, {0, 1, 2})
    for number in (0, len(texts) - 1):
        alone = encode(backend, pack([texts[number]]), {0, 1, 2})
        own = slice(packed.cu_seqlens[number], packed.cu_seqlens[number + 1])
        for layer, found in states.items():
            assert torch.equal(found[own], alone[layer])


@every_way
@pytest.mark.parametrize(("hidden_size", "num_hidden_layers"), [(0, 1), (40, 1), (40, 3)])
@pytest.mark.parametrize("pooling", ["mean", "cls", None])
def test_heads_read_what_pytorch_reads(
    variant: Variant, arithmetic: Arithmetic, hidden_size: int, num_hidden_layers: int, pooling: Any
) -> None:
    """A mix of layers, for texts and for tokens, without a hidden layer, with one and with several."""
    torch.manual_seed(1)
    config = HeadConfig(
        name="any",
        task="ner",
        labels=tuple(map(str, range(19))),
        layers=(1, 2),
        hidden_size=hidden_size,
        num_hidden_layers=num_hidden_layers,
    )
    head, packed = Head(config, 128).eval(), build_texts(5, 60, 1, 300)
    readouts = [Readout(((1, 0.25), (2, 0.75)), pooling, head), Readout(((0, 0.5), (2, 0.5)), pooling)]
    exact = read_eagerly(packed, readouts)
    found = read(ways.compile_small(variant, arithmetic), packed, readouts)
    assert [result.shape for result in found] == [result.shape for result in exact]
    assert min(map(smallest_cosine, found, exact)) >= min(0.999, LEAST_COSINE[arithmetic.name])


@every_way
def test_a_pass_that_gives_way_stops_between_groups(variant: Variant, arithmetic: Arithmetic) -> None:
    """The results are those of a pass that does not."""
    backend, packed = ways.compile_small(variant, arithmetic), build_texts(300, 7, 350, 290, 310, 12, 280)
    readouts = [Readout(((1, 0.5), (2, 0.5)), "mean"), Readout(((2, 1.0),), None)]
    stops: list[None] = []
    given_way = read(backend, packed, readouts, PassContext(Priority.BACKFILL, lambda: stops.append(None)))
    assert len(stops) > 1
    for one, other in zip(given_way, read(backend, packed, readouts), strict=True):
        assert torch.equal(one, other)


def test_passes_beside_each_other_give_what_each_gives_alone() -> None:
    """Four callers share the threads of the engine."""
    variant, _ = load_fastest()
    backend = ways.compile_small(variant, FLOAT32)
    packs = [build_texts(*range(first, 200, 7)) for first in range(1, 5)]
    readout = [Readout(((2, 1.0),), "mean")]
    alone = [read(backend, packed, readout)[0] for packed in packs]
    with ThreadPoolExecutor(4) as callers:
        for _ in range(5):
            for one, other in zip(callers.map(lambda packed: read(backend, packed, readout)[0], packs), alone, strict=True):
                assert torch.equal(one, other)


@every_way
@pytest.mark.parametrize("num_heads", [4, 2])
def test_threads_that_share_a_text_give_what_one_thread_gives(variant: Variant, arithmetic: Arithmetic, num_heads: int) -> None:
    """To the last bit, for one token and for hundreds, for states and vectors, and with more threads than heads."""
    backend = ways.compile_small(variant, arithmetic, num_heads)
    packs = [build_texts(*lengths) for lengths in [(1,), (28,), (129,), (599,), (5, 9, 3)]]
    readouts = [Readout(((0, 0.5), (2, 0.5)), None), Readout(((1, 0.5), (2, 0.5)), "mean")]
    found = {}
    try:
        for num_threads in (1, 2, 4):
            backend.native.set_threads(num_threads)
            found[num_threads] = [result for packed in packs for result in read(backend, packed, readouts)]
    finally:
        backend.native.set_threads(count_cores())
    for num_threads in (2, 4):
        assert all(map(torch.equal, found[num_threads], found[1]))


@pytest.mark.parametrize("lengths", [(28,), (1,), (300,)])
def test_lone_texts_beside_each_other_give_what_each_gives_alone(lengths: tuple[int, ...]) -> None:
    """Threads that help with a pass leave it when another pass begins."""
    variant, _ = load_fastest()
    backend = ways.compile_small(variant, FLOAT32)
    packed, readout = build_texts(*lengths), [Readout(((2, 1.0),), "mean")]
    alone = read(backend, packed, readout)[0]
    with ThreadPoolExecutor(3) as callers:
        for found in callers.map(lambda _: read(backend, packed, readout)[0], range(60)):
            assert torch.equal(found, alone)


@pytest.mark.parametrize(("sequence", "reason"), [([1, 50], "none of the 50"), ([-1], "none of the 50"), ([1] * 601, "600 places")])
def test_tokens_that_the_tables_do_not_hold_are_refused(sequence: list[int], reason: str) -> None:
    """As PyTorch refuses them: the kernels never read memory that is not the model's."""
    variant, _ = load_fastest()
    with pytest.raises(IndexError, match=reason):
        encode(ways.compile_small(variant, FLOAT32), pack([np.array(sequence, dtype=np.int32)]), {1})


@pytest.mark.parametrize(
    ("arithmetic", "changed", "reason"),
    [
        (BFLOAT16_TILES, {"num_attention_heads": 8}, "do not fit the kernels"),
        (BFLOAT16_TILES, {"hidden_size": 96, "num_attention_heads": 3}, "do not fit the kernels"),
        (BFLOAT16_TILES, {"intermediate_size": 224}, "does not fit the kernels"),
        (BFLOAT16_TILES, {"hidden_act": "relu"}, "GELU, not relu"),
        (FLOAT32, {"hidden_size": 400, "num_attention_heads": 2}, "do not fit the kernels"),
        (FLOAT32, {"hidden_size": 5120, "num_attention_heads": 80}, "do not fit the kernels"),
    ],
)
def test_a_shape_that_does_not_fit_is_a_reason(arithmetic: Arithmetic, changed: dict[str, Any], reason: str) -> None:
    """The next way is taken then."""
    check_shape(EncoderConfig(**ways.SHAPE), arithmetic, 32)
    with pytest.raises(BackendUnavailable, match=reason):
        check_shape(EncoderConfig(**ways.SHAPE | changed), arithmetic, 32)


def test_instructions_that_are_not_there_are_a_reason() -> None:
    """The portable library has fp32 alone, and bytes need a calibration."""
    with pytest.raises(BackendUnavailable, match="no instructions for int8"):
        Compiled(to_weights(ways.build_small_encoder()), INT8, variant=VARIANTS[-1])
    for variant, arithmetic in ways.WAYS:
        if arithmetic.is_calibrated:
            with pytest.raises(BackendUnavailable, match="gist-stream quantize"):
                Compiled(to_weights(ways.build_small_encoder()), arithmetic, variant=variant)

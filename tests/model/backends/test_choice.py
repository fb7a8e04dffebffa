"""Every backend against the reference implementation, packed with any neighbours; and which of them is chosen."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model.backends.tensors import encode, read
from worker.batches import PassContext, Priority
from worker.errors import BadModel
from worker.model.backends.choice import Backend, BackendName, Format, choose
from worker.model.backends.native import build
from worker.model.backends.native.build import BackendUnavailable
from worker.model.checkpoint import checkpoint
from worker.model.heads.readout import Readout
from worker.model.pooling.torch_pooling import pool
from worker.model.text.packing import pack
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
CPU = torch.device("cpu")
# How far the states of a text may be from the reference's, and its vector's cosine at least.
WAYS: list[tuple[BackendName, Format, float | None, float]] = [
    ("eager", "float32", 1e-4, 0.99999),
    ("compiled", "float32", 1e-4, 0.99999),
    ("eager", "bfloat16", None, 0.999),
    ("compiled", "bfloat16", None, 0.999),
    ("compiled", "int16", None, 0.9999),
    ("compiled", "int8", None, 0.99),
]
SENTENCES = [
    "Ada Lovelace moved to London.",
    "Awful. I hated every minute of it, and so did everybody else in the room!",
    "ok",
    "The ministers of finance of the eleven countries met in Paris on Tuesday to talk about the price of bread.",
    "@marie thanks, see you at 8 :-)",
    "It never pretends to be more than it is, and that is more than most films can say.",
]


@lru_cache
def backend(reference: str, name: BackendName, dtype: Format) -> Backend:
    """Return a backend for a model."""
    loaded = checkpoint.load(reference)
    with torch.inference_mode():
        return choose(loaded.weights, name, device="cpu", dtype=dtype, ranges=loaded.ranges)[0]


@lru_cache
def reference(directory: Path) -> Any:
    """Return the same encoder by transformers, in fp32."""
    from transformers import AutoModel  # noqa: PLC0415  heavy

    return AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()


@torch.inference_mode()
def check(found: Backend, published: Path, sequences: list[list[int]], *, tolerance: float | None, cosine: float) -> None:
    """Compare the states of every layer, and the mean of the last."""
    packed = pack([np.array(sequence, dtype=np.int32) for sequence in sequences])
    last = reference(published).config.num_hidden_layers
    states = encode(found, packed, range(last + 1))
    assert list(states) == list(range(last + 1))
    vectors = pool(states[last], torch.from_numpy(packed.cu_seqlens), "mean")
    for number, sequence in enumerate(sequences):
        theirs = reference(published)(torch.tensor([sequence]), output_hidden_states=True).hidden_states
        own = slice(packed.cu_seqlens[number], packed.cu_seqlens[number + 1])
        for layer in range(last + 1):
            assert states[layer][own].shape == theirs[layer][0].shape
            if tolerance is not None:
                torch.testing.assert_close(states[layer][own].float(), theirs[layer][0], atol=tolerance, rtol=0)
        assert torch.cosine_similarity(vectors[number], theirs[last][0].mean(0), dim=0) >= cosine


@pytest.mark.parametrize(("name", "dtype", "tolerance", "cosine"), WAYS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=12), st.integers(1, 4))
def test_every_backend_gives_what_the_reference_gives(
    minilm: Path, name: BackendName, dtype: Format, tolerance: float | None, cosine: float, texts: list[str], times: int
) -> None:
    """Whatever stands beside a text."""
    tokens = checkpoint.load(DEFAULT_MODEL).tokenizer.encode([" ".join([text] * times) for text in texts])
    check(
        backend(DEFAULT_MODEL, name, dtype),
        minilm,
        [text_tokens.ids.tolist() for text_tokens in tokens],
        tolerance=tolerance,
        cosine=cosine,
    )


@pytest.mark.parametrize(("name", "dtype", "tolerance", "cosine"), [way for way in WAYS if way[1] != "int8"])
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(1000, 29_000), min_size=1, max_size=60), min_size=1, max_size=12))
def test_gists_shape_too(
    gist_shaped: Path, name: BackendName, dtype: Format, tolerance: float | None, cosine: float, sequences: list[list[int]]
) -> None:
    """Twelve layers with random weights, and any tokens."""
    check(backend(str(gist_shaped), name, dtype), gist_shaped, sequences, tolerance=tolerance, cosine=cosine)


@pytest.mark.parametrize(("name", "dtype", "tolerance", "cosine"), WAYS)
def test_the_longest_text_has_its_positions(
    minilm: Path, name: BackendName, dtype: Format, tolerance: float | None, cosine: float
) -> None:
    """512 tokens beside one of two; 8 bits are calibrated on real texts, so it is one."""
    tokens = checkpoint.load(DEFAULT_MODEL, max_tokens=512).tokenizer.encode([" ".join(SENTENCES) * 9, "ok"])
    assert len(tokens[0].ids) == 512
    check(
        backend(DEFAULT_MODEL, name, dtype),
        minilm,
        [text_tokens.ids.tolist() for text_tokens in tokens],
        tolerance=tolerance,
        cosine=cosine,
    )


def test_the_fastest_of_those_that_are_as_exact_is_chosen(minilm: Path) -> None:
    """Which on a CPU is the compiled one, never the 8-bit one."""
    chosen, because = choose(checkpoint.load(str(minilm)).weights, "auto", device="cpu", dtype="float32")
    assert (chosen.name, because) == ("compiled", "the fastest here that is as exact as PyTorch")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the compiler and the compiled kernels away."""

    def no_library(*_: object, **_options: bool) -> None:
        raise BackendUnavailable("there is no C++ compiler")

    monkeypatch.setattr(build, "load_fastest", no_library)


@pytest.mark.usefixtures("no_compiler")
def test_a_backend_that_cannot_run_here_is_passed_over(minilm: Path) -> None:
    """PyTorch is taken, with the reason; a backend that was asked for by name is an error."""
    weights = checkpoint.load(str(minilm)).weights
    chosen, because = choose(weights, "auto", device="cpu", dtype="float32")
    assert (chosen.name, because) == ("eager", "compiled cannot run here: there is no C++ compiler")
    with pytest.raises(BadModel, match="the backend compiled cannot run here: there is no C\\+\\+ compiler"):
        choose(weights, "compiled", device="cpu", dtype="float32")


@pytest.mark.usefixtures("no_compiler")
def test_without_pytorch_the_reasons_of_all_are_given(minilm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image for CPUs has neither a compiler nor PyTorch."""
    weights = checkpoint.load(str(minilm)).weights
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BadModel, match=r"no C\+\+ compiler; eager cannot run here: torch is not installed"):
        choose(weights, "auto", device="cpu", dtype="float32")


def test_instructions_that_the_processor_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """By arithmetic that is at least as exact; 8 bits, which are asked for by name, are an error."""
    portable = build.VARIANTS[-1]
    monkeypatch.setattr(build, "load_fastest", lambda: (portable, build.load(portable)))
    loaded = checkpoint.load(DEFAULT_MODEL)
    chosen, _ = choose(loaded.weights, "auto", device="cpu", dtype="bfloat16")
    assert chosen.description == "float32 compiled (portable)"
    with pytest.raises(BadModel, match=r"compiled cannot run here: .* has no instructions for int8; eager .* no products in int8"):
        choose(loaded.weights, "auto", device="cpu", dtype="int8", ranges=loaded.ranges)


def test_eager_is_for_every_number_format(minilm: Path) -> None:
    """Also for those that the native engine does not know."""
    weights = checkpoint.load(str(minilm)).weights
    assert choose(weights, "eager", device="cpu", dtype="float16")[0].description == "float16 eager"
    assert choose(weights, "auto", device="cpu", dtype="float16")[0].name == "eager"


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", ["eager", "compiled"])
def test_only_the_layers_that_are_asked_for_are_computed(name: BackendName, dtype: Format) -> None:
    """A head that reads layer 3 does not pay for the layers above."""
    packed = pack([np.array([101, 7592, 102], dtype=np.int32)])
    assert list(encode(backend(DEFAULT_MODEL, name, "float32" if name == "eager" else dtype), packed, {3})) == [3]


def test_a_pass_that_gives_way_stops_before_each_layer() -> None:
    """In plain PyTorch; its results are those of a pass that does not."""
    packed = pack([np.array([101, 7592, 102], dtype=np.int32), np.array([101, 2088, 2003, 102], dtype=np.int32)])
    found, reading = backend(DEFAULT_MODEL, "eager", "float32"), Readout(((1, 0.5), (4, 0.5)), "mean")
    stops: list[None] = []
    with torch.inference_mode():
        (given_way,), (alone,) = (
            read(found, packed, [reading], PassContext(Priority.BACKFILL, lambda: stops.append(None))),
            read(found, packed, [reading]),
        )
    assert len(stops) == 4
    assert torch.equal(given_way, alone)


def test_8_bits_want_a_calibration(minilm: Path) -> None:
    """And say how to get one."""
    with pytest.raises(BadModel, match="gist-stream quantize"):
        choose(checkpoint.load(str(minilm)).weights, "compiled", device="cpu", dtype="int8")

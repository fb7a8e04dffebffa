"""The choice of an arithmetic: measured once, exact enough, and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.model.backends import native as ways
from worker.errors import BadModel
from worker.model.backends import measurement
from worker.model.backends.arithmetics import BFLOAT16
from worker.model.backends.compiled import compile_encoder
from worker.model.backends.measurement import Measured, Trial, compare, measure_once, measure_speed
from worker.model.backends.native import build
from worker.model.backends.native.build import VARIANTS, BackendUnavailable, find_variant, load, load_fastest
from worker.model.encoder.encoder import to_weights
from worker.model.heads.readout import Readout
from worker.model.text.packing import pack

if TYPE_CHECKING:
    import ctypes
    from pathlib import Path

    from worker.model.encoder.encoder_config import EncoderConfig

PACKED = pack([np.arange(length, dtype=np.int32) % 50 for length in (3, 33, 64)])
READOUTS = [Readout(((2, 1.0),), "mean")]
TRIAL = Trial("any@1", PACKED, READOUTS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, with the libraries that were compiled already."""
    loaded = load_fastest()
    monkeypatch.setattr(measurement, "cache_directory", lambda: tmp_path)
    assert loaded
    return tmp_path


def measure(rates: dict[str, float], monkeypatch: pytest.MonkeyPatch, trial: Trial = TRIAL) -> Measured:
    """Measure a small encoder on a machine of these speeds."""

    def rates_here(_config: EncoderConfig, _loaded: ctypes.CDLL, *, num_threads: int) -> dict[str, float]:
        assert num_threads == 2
        return rates

    monkeypatch.setattr(measurement, "measure_speed", rates_here)
    return measure_once(to_weights(ways.build_small_encoder()), load_fastest()[1], trial, num_threads=2, library="engine")


def test_every_arithmetic_of_the_library_is_timed() -> None:
    """Each that may stand for fp32; the portable library has fp32 alone."""
    config = ways.build_small_encoder().config
    _, fastest = load_fastest()
    expected = {candidate.name for candidate in measurement.CANDIDATES if fastest.gist_has(candidate.number)}
    found = measure_speed(config, fastest, num_threads=2)
    assert set(found) == expected
    assert all(measured > 0 for measured in found.values())
    assert set(measure_speed(config, load(VARIANTS[-1]), num_threads=1)) == {"float32"}


@pytest.mark.usefixtures("cache")
def test_a_less_exact_arithmetic_must_be_much_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain of a few percent is not worth a digit."""
    assert measure({"float32": 100.0}, monkeypatch).chosen == "float32"
    close = measure({"float32": 100.0, "int16": 105.0}, monkeypatch, Trial("close@1", PACKED, READOUTS))
    assert (close.chosen, close.cosines) == ("float32", {})


@pytest.mark.skipif(not find_variant("avx512_bf16").runs_here, reason="needs AVX-512 BF16")
@pytest.mark.usefixtures("cache")
def test_bfloat16_needs_no_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AMX the same name stands for products in vector registers, measured or requested."""
    variant = find_variant("avx512_bf16")
    loaded = load(variant)
    monkeypatch.setattr(build, "load_fastest", lambda: (variant, loaded))
    monkeypatch.setattr(measurement, "measure_speed", lambda *_, **__: {"float32": 100.0, "int16": 105.0, "bfloat16": 150.0})
    weights = to_weights(ways.build_small_encoder())
    measured = compile_encoder(weights, "float32", trial=TRIAL, threads=2)
    assert measured.measured is not None
    assert measured.measured.cosines["bfloat16"] > 0.999
    for found in (measured, compile_encoder(weights, "bfloat16")):
        assert (found.description, found.arithmetic) == ("bfloat16 compiled (avx512_bf16)", BFLOAT16)


@pytest.mark.skipif("int16" not in {arithmetic.name for _, arithmetic in ways.WAYS}, reason="needs AVX2")
def test_the_result_is_kept_beside_the_kernels(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start measures nothing; another model, or a damaged file, is measured."""
    first = measure({"float32": 100.0, "int16": 200.0}, monkeypatch)
    assert first.chosen == "int16"
    assert first.cosines["int16"] > 0.999
    assert str(first).startswith("measured here, in texts/s: int16 200 (smallest cosine to float32 0.9999"), str(first)
    assert measure({"float32": 100.0}, monkeypatch) == first
    assert measure({"float32": 100.0}, monkeypatch, Trial("other@1", PACKED, READOUTS)).chosen == "float32"
    for path in cache.glob("arithmetic-*.json"):
        path.write_text("{")
    assert measure({"float32": 100.0}, monkeypatch).chosen == "float32"


@pytest.mark.skipif("int16" not in {arithmetic.name for _, arithmetic in ways.WAYS}, reason="needs AVX2")
@pytest.mark.usefixtures("cache")
def test_an_arithmetic_that_is_not_exact_enough_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast it is; the cosine is kept to show why."""
    monkeypatch.setattr(measurement, "compare", lambda *_: (0.99, 1.0))
    found = measure({"float32": 100.0, "int16": 900.0}, monkeypatch)
    assert (found.chosen, found.cosines) == ("float32", {"int16": 0.99})


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start measures again."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(measurement, "cache_directory", lambda: tmp_path / "file")
    assert measure({"float32": 100.0}, monkeypatch).chosen == "float32"


def test_a_shape_that_fp32_does_not_fit_is_a_reason() -> None:
    """The next backend is taken then."""
    weights = to_weights(ways.build_small_encoder(hidden_size=512, num_attention_heads=1))
    with pytest.raises(BackendUnavailable, match="do not fit the kernels"):
        measure_once(weights, load_fastest()[1], TRIAL, num_threads=2, library="engine")


def test_vectors_and_labels_are_compared() -> None:
    """The worst vector and the head with the most other labels count."""
    head = object()
    readouts = [Readout(((1, 1.0),), "mean"), Readout(((1, 1.0),), None, head), Readout(((1, 1.0),), "mean", head)]  # type: ignore[arg-type]
    one = [np.array([[1.0, 0], [0, 1]], np.float32), np.array([[1.0, 2], [2, 1]], np.float32), np.array([[1.0], [-1]], np.float32)]
    other = [
        np.array([[1.0, 0], [1, 1]], np.float32),
        np.array([[1.0, 2], [2, 3]], np.float32),
        np.array([[2.0], [-3]], np.float32),
    ]
    assert compare(one, one, readouts) == (1.0, 1.0)
    cosine, agreement = compare(one, other, readouts)
    assert cosine == pytest.approx(0.5**0.5)
    assert agreement == 0.5


def test_a_measurement_of_damaged_weights_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are verified while the weights are laid out, and before a result is written."""

    def refuse() -> None:
        raise BadModel("model.safetensors: its sha256 is another")

    with pytest.raises(BadModel, match="sha256"):
        measure({"float32": 100.0}, monkeypatch, Trial("damaged@1", PACKED, READOUTS, refuse))
    assert not list(cache.glob("arithmetic-*.json"))

"""Measure the speed of each arithmetic on this machine once, and cache the result next to the compiled kernels. Without torch."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.model.backends.arithmetics import BFLOAT16, BFLOAT16_TILES, FLOAT32, INT16, Arithmetic
from worker.model.backends.native.build import BackendUnavailable, cache_directory
from worker.model.backends.native_encoder import NativeEncoder, check_shape
from worker.model.encoder.encoder_weights import EncoderWeights, find_shapes
from worker.model.heads.readout import Readout
from worker.model.processor.cpu_features import read_processor
from worker.model.text.packing import pack

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.text.packing import Packed

    Floats = NDArray[np.float32]

#: The arithmetics that may replace fp32, the most exact first; a library has at most one of each name.
CANDIDATES = (FLOAT32, INT16, BFLOAT16_TILES, BFLOAT16)
# The least speed-up for which a less exact arithmetic is chosen.
_LEAST_GAIN = 1.1
# The smallest cosine to fp32, and the smallest share of rows with the same label.
_LEAST_COSINE, _LEAST_AGREEMENT = 0.999, 0.99
# The time and the number of passes for each arithmetic, after one pass that is not counted.
_SECONDS, _NUM_PASSES = 0.1, 3
# Layers and words of the encoder that is timed; the time of a layer is the same for all.
_NUM_LAYERS, _NUM_WORDS = 2, 64
# Texts of a timed pass, with a mean of 28 tokens.
_NUM_TEXTS, _MEAN_TOKENS = 64, 28


@dataclass(frozen=True, slots=True)
class Trial:
    """Texts on which an arithmetic is compared with fp32."""

    #: The model's name, with its revision.
    model: str
    packed: Packed
    readouts: Sequence[Readout]
    #: Raises `BadModel` for damaged weights, whose measurement must not be kept.
    confirm: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Measured:
    """The speed of each arithmetic that a library has, and the one that was chosen."""

    chosen: str
    #: Texts of 28 tokens in a second, by the name of the arithmetic.
    texts_per_s: Mapping[str, float]
    #: The smallest cosine to fp32 of each arithmetic that was compared.
    cosines: Mapping[str, float]

    def __str__(self) -> str:
        """Return one line for people, the fastest first."""
        rates = sorted(self.texts_per_s.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {rate:,.0f}{self._shown_cosine(name)}" for name, rate in rates)
        return f"measured here, in texts/s: {shown}"

    def _shown_cosine(self, name: str) -> str:
        cosine = self.cosines.get(name)
        return "" if cosine is None else f" (smallest cosine to float32 {math.floor(cosine * 1e5) / 1e5:.5f})"


def measure_once(
    weights: EncoderWeights,
    loaded: ctypes.CDLL,
    trial: Trial,
    *,
    num_threads: int,
    library: str,
) -> Measured:
    """Return the fastest arithmetic that is exact enough on `trial`, from the cache where it was measured before.

    The result depends on the shape, the threads, the library of this name, the model and the processor.
    """
    config = weights.config
    check_shape(config, FLOAT32, 2 * int(loaded.gist_lanes()))
    key = [asdict(config), num_threads, library, trial.model, read_processor()]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = cache_directory() / f"arithmetic-{digest}.json"
    if (kept := _read(path)) is not None:
        return kept
    rates = measure_speed(config, loaded, num_threads=num_threads)
    trial.confirm()
    measured = _choose(weights, loaded, trial, rates)
    _write(path, measured)
    return measured


def measure_speed(config: EncoderConfig, loaded: ctypes.CDLL, *, num_threads: int) -> dict[str, float]:
    """Return by arithmetic how many texts a second an encoder of this shape does; the arithmetics take turns."""
    small = replace(config, num_hidden_layers=min(_NUM_LAYERS, config.num_hidden_layers), vocab_size=_NUM_WORDS)
    packed = _random_texts(small)
    readout = [Readout(((small.num_hidden_layers, 1.0),), "mean")]
    encoders = {
        arithmetic.name: NativeEncoder(_random_weights(small), arithmetic, loaded)
        for arithmetic in CANDIDATES
        if _runs(small, arithmetic, loaded)
    }
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for encoder in encoders.values():
        encoder.set_threads(num_threads)
        encoder.read(packed, readout)
    while any(sum(own) < _SECONDS or len(own) < _NUM_PASSES for own in times.values()):
        for name, encoder in encoders.items():
            began = time.perf_counter()
            encoder.read(packed, readout)
            times[name].append(time.perf_counter() - began)
    num_texts = len(packed.ids) / _MEAN_TOKENS * small.num_hidden_layers / config.num_hidden_layers
    # The shortest pass: other processes can only make a pass longer, and would otherwise decide which arithmetic is chosen.
    return {name: num_texts / min(own) for name, own in times.items()}


def _choose(
    weights: EncoderWeights,
    loaded: ctypes.CDLL,
    trial: Trial,
    rates: Mapping[str, float],
) -> Measured:
    """Take the most exact arithmetic that no less exact one beats by far; those that are not exact enough are passed over."""
    cosines: dict[str, float] = {}
    exact: list[Floats] = []
    chosen = FLOAT32
    for arithmetic in CANDIDATES[1:]:
        is_faster = rates.get(arithmetic.name, 0.0) >= rates[chosen.name] * _LEAST_GAIN
        if not is_faster or not _runs(weights.config, arithmetic, loaded):
            continue
        exact = exact or NativeEncoder(weights, FLOAT32, loaded).read(trial.packed, trial.readouts)
        cosine, agreement = compare(
            exact, NativeEncoder(weights, arithmetic, loaded).read(trial.packed, trial.readouts), trial.readouts
        )
        cosines[arithmetic.name] = cosine
        if cosine >= _LEAST_COSINE and agreement >= _LEAST_AGREEMENT:
            chosen = arithmetic
    return Measured(chosen.name, dict(rates), cosines)


def compare(exact: Sequence[Floats], found: Sequence[Floats], readouts: Sequence[Readout]) -> tuple[float, float]:
    """Return the smallest cosine of two vectors, and the smallest share of rows to which a head gives the same label."""
    cosine = agreement = 1.0
    for one, other, readout in zip(exact, found, readouts, strict=True):
        if readout.head is None:
            products = (one * other).sum(axis=1) / np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1e-30)
            cosine = min(cosine, float(products.min()))
        else:
            labels = [logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1) for logits in (one, other)]
            agreement = min(agreement, float((labels[0] == labels[1]).mean()))
    return cosine, agreement


def _runs(config: EncoderConfig, arithmetic: Arithmetic, loaded: ctypes.CDLL) -> bool:
    """Tell whether a library has an arithmetic, and its kernels fit an encoder."""
    try:
        check_shape(config, arithmetic, 2 * int(loaded.gist_lanes()))
    except BackendUnavailable:
        return False
    return bool(loaded.gist_has(arithmetic.number))


def _random_texts(config: EncoderConfig) -> Packed:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.poisson(_MEAN_TOKENS, _NUM_TEXTS), 1, config.max_tokens)
    return pack([rng.integers(0, config.vocab_size, length).astype(np.int32) for length in lengths])


def _random_weights(config: EncoderConfig) -> EncoderWeights:
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) * np.float32(0.05) for name, shape in find_shapes(config).items()}
    return EncoderWeights(config, arrays)


def _read(path: Path) -> Measured | None:
    """Return what was kept; None where nothing was, or the file is damaged."""
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        found = Measured(kept["chosen"], kept["texts_per_s"], kept["cosines"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.chosen in {candidate.name for candidate in CANDIDATES} else None


def _write(path: Path, measured: Measured) -> None:
    """Keep a result; a cache that cannot be written costs another measurement at the next start, and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{time.monotonic_ns()}.part")
        unfinished.write_text(json.dumps(asdict(measured)))
        unfinished.replace(path)
    except OSError:
        return

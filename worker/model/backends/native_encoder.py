"""The encoder on a CPU, whole in one call of the native engine. Without torch.

A batch is divided into groups of texts, each as large as the second-level cache of a core can hold on its way through the layers. A
thread takes a group through the whole encoder: the thread reads the weights, and nothing else travels. Biases, activations, norms,
attention, scales, pooling and heads are computed between the products. Free threads help with a text that is alone: see
`engine/team.h`.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from worker.batches import LIVE_PASS, PassContext
from worker.model.backends.filled_weights import fill_config, fill_ranges, fill_weights
from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.native_layers import PART, Layers, Memory, to_pointers
from worker.model.backends.readouts import Readouts
from worker.model.text.packing import groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.backends.arithmetics import Arithmetic
    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.encoder.encoder_weights import EncoderWeights
    from worker.model.heads.readout import Readout
    from worker.model.text.packing import Packed

    Floats = NDArray[np.float32]

_ACTIVATIONS = {"gelu": 0, "gelu_new": 1, "gelu_pytorch_tanh": 1, "relu": 2, "silu": 3}
# The widest embeddings that the kernels make states of.
_WIDEST_EMBEDDING = 384
_TILED_WIDTHS, _TILED_STEP, _STEP, _TILE_ROWS = (32, 64), 64, 32, 16
_LARGEST_HIDDEN = 4096
# What `engine/profile.h` counts.
_STAGES = ("products", "attention", "norms", "heads", "rest")


class NativeEncoder:
    """An encoder in one arithmetic; the results are fp32."""

    def __init__(
        self,
        weights: EncoderWeights,
        arithmetic: Arithmetic,
        loaded: ctypes.CDLL,
        *,
        ranges: Mapping[str, Floats] | None = None,
    ) -> None:
        """Lay out weights for a loaded library; `ranges` are those of the calibration. Raises `BackendUnavailable`."""
        config = weights.config
        if not loaded.gist_has(arithmetic.number):
            raise BackendUnavailable(f"the processor, the kernel or the compiler has no instructions for {arithmetic.name}")
        if arithmetic.is_calibrated and ranges is None:
            raise BackendUnavailable("the model is not calibrated for 8-bit products: see `gist-stream quantize`")
        self.arithmetic = arithmetic
        self._library = loaded
        self._panel = 2 * int(loaded.gist_lanes())
        check_shape(config, arithmetic, self._panel)
        if not arithmetic.is_tiled:
            weights = fill_weights(weights, self._panel)
            ranges = None if ranges is None else fill_ranges(ranges, config, weights.config)
        # The numbers of a state that are results, and the shape that the kernels compute.
        self._hidden_size, self._config = config.hidden_size, weights.config
        num_filling = weights.config.hidden_size - config.hidden_size
        layers = Layers(weights, arithmetic, panel=self._panel, ranges=ranges, num_filling=num_filling)
        # Layer by layer, so that the arrays of one layer at a time are there twice.
        self._memory = Memory(loaded)
        self._tables = to_pointers(self._memory.place(layers.tables()))
        self._parameters = to_pointers([address for arrays in layers.parameters() for address in self._memory.place(arrays)])
        self._shape, self._numbers = layers.shape()
        # The readouts that were used so far, laid out for the kernels.
        self._readouts: dict[tuple[Readout, ...], Readouts] = {}

    def read(self, packed: Packed, readouts: Sequence[Readout], context: PassContext = LIVE_PASS) -> list[Floats]:
        """Return the result of each readout; yield as `context` says between groups of texts."""
        self._check_tables(packed)
        config, asked = self._config, self._laid_out(tuple(readouts))
        structs, filled = asked.allocate(packed)
        order, bounds = self._groups(packed)
        num_groups = len(bounds) - 1
        sizes = (config.hidden_size, config.intermediate_size, config.num_attention_heads, asked.num_layers)
        shape = (ctypes.c_int * (len(sizes) + 1 + len(self._shape)))(*sizes, _ACTIVATIONS[config.hidden_act], *self._shape)
        numbers = (ctypes.c_float * len(self._numbers))(*self._numbers)
        # A backfill pass yields after each thread has processed a group of texts.
        step = self._library.gist_count_threads() if context.is_background else num_groups
        for first in range(0, num_groups, step):
            context.yield_to_live()
            texts = to_pointers([array.ctypes.data for array in (packed.ids, packed.cu_seqlens, order, bounds[first:])])
            code = self._library.gist_encode(
                *(texts, ctypes.c_int64(min(step, num_groups - first)), self._tables, self._parameters, structs, len(structs)),
                *(shape, numbers, self.arithmetic.number),
            )
            if code:
                raise MemoryError("there is no memory left for the encoder")
        return asked.finish(filled, packed, self._library)

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        if not self.arithmetic.is_tiled:
            return len(packed.ids)
        order, bounds = self._groups(packed)
        tokens = np.add.reduceat(packed.lengths[order], bounds[:-1])
        return int((-(-tokens // _TILE_ROWS) * _TILE_ROWS).sum())

    def set_threads(self, num_threads: int) -> None:
        """Set how many threads compute at a time, over all passes."""
        self._library.gist_set_threads(num_threads)

    def spent(self) -> dict[str, float]:
        """Return the seconds of all threads since the last call, by stage; only of a library that is profiled."""
        seconds = (ctypes.c_double * len(_STAGES))()
        self._library.gist_profile(seconds)
        return dict(zip(_STAGES, seconds, strict=True))

    def _groups(self, packed: Packed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        num_free = max(1, self._library.gist_count_free_threads())
        own = self.arithmetic
        return groups(packed.lengths, min_tokens=own.min_group_tokens, max_tokens=own.group_tokens, num_threads=num_free)

    def _laid_out(self, readouts: tuple[Readout, ...]) -> Readouts:
        if readouts not in self._readouts:
            sizes = {"hidden_size": self._hidden_size, "computed_size": self._config.hidden_size}
            self._readouts[readouts] = Readouts(readouts, arithmetic=self.arithmetic, panel=self._panel, **sizes)
        return self._readouts[readouts]

    def _check_tables(self, packed: Packed) -> None:
        """Raise `IndexError` for what the tables do not hold: the kernels would read past their ends."""
        if not 0 <= packed.ids.min() <= packed.ids.max() < self._config.vocab_size:
            raise IndexError(f"a token is none of the {self._config.vocab_size} that the encoder knows")
        if packed.lengths.max() > self._config.max_tokens:
            raise IndexError(f"a text has {packed.lengths.max()} tokens, and the encoder {self._config.max_tokens} places")


def check_shape(config: EncoderConfig, arithmetic: Arithmetic, panel: int) -> None:
    """Raise `BackendUnavailable` for an encoder whose layers, shape or activation the kernels do not fit."""
    if not arithmetic.is_tiled:
        config = fill_config(config, panel)
    width, step = config.hidden_size // config.num_attention_heads, _TILED_STEP if arithmetic.is_tiled else _STEP
    if arithmetic.is_tiled and (not config.is_plain or config.embedding_size or not config.has_positions):
        raise BackendUnavailable(f"the layers of {config.family} do not run on tiles")
    if arithmetic.is_tiled and config.hidden_act != "gelu":
        raise BackendUnavailable(f"the activation on tiles is GELU, not {config.hidden_act}")
    if config.embedding_size % _STEP or config.embedding_size > _WIDEST_EMBEDDING:
        raise BackendUnavailable(f"embeddings of {config.embedding_size} numbers do not fit the kernels")
    fits = width in _TILED_WIDTHS if arithmetic.is_tiled else width % panel == 0 and (width <= PART or config.is_static)
    if not fits or config.hidden_size > _LARGEST_HIDDEN or config.hidden_size % step:
        raise BackendUnavailable(f"{config.num_attention_heads} heads of {width} numbers do not fit the kernels")
    if config.intermediate_size % step:
        raise BackendUnavailable(f"a feed-forward of {config.intermediate_size} numbers does not fit the kernels")

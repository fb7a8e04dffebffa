"""What attention adds for distances, as the kernels take it (`Distances` in `engine/shape.h`). Without torch."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.model.architectures.distances import compute_rotary, find_bias_buckets, find_distance_rows
from worker.model.backends.arithmetics import lay_out_panels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.model.encoder.encoder_weights import EncoderWeights

    Floats = NDArray[np.float32]


class NativeDistances:
    """The tables of an encoder's distances, for kernels with panels of `panel` columns."""

    def __init__(self, weights: EncoderWeights, panel: int) -> None:
        """Prepare the tables that all layers share."""
        self._arrays, self._config, self._panel = weights.arrays, weights.config, panel
        self._attention = weights.config.attention
        self._width = weights.config.hidden_size // weights.config.num_attention_heads
        num_rows = 2 * self._attention.span
        #: The rows of distances, filled up to whole panels.
        self.num_rows = num_rows + -num_rows % panel
        #: What the scores of a query with keys and distances are multiplied with.
        parts = 1 + self._attention.has_content_to_position + self._attention.has_position_to_content
        self.scale = float((self._width * parts) ** -0.5)
        bases = (self._attention.rotary_base, self._attention.local_rotary_base)
        # The same array for all layers of a kind, for which memory is taken once.
        self._rotary = [self._compute_rotary(base) if base else None for base in bases]

    def list_layer(self, number: int, weight: Floats, bias: Floats) -> list[NDArray[Any] | None]:
        """Return the arrays of a layer; `weight` and `bias` are those of its queries, keys and values."""
        attention, is_local = self._attention, number in self._attention.local_layers
        keys = queries = None
        if attention.span:
            query, key, _ = np.split(self._embeddings @ weight.T + bias, 3, axis=1)
            keys = self._lay_out(key) if attention.has_content_to_position else None
            queries = self._lay_out(query) if attention.has_position_to_content else None
        is_normalized = not self._config.is_norm_first or number == self._config.num_hidden_layers - 1
        settings = np.array([attention.window if is_local else -1, is_normalized], dtype=np.float32)
        return [self._rotary[is_local], self._bias, keys, queries, self._rows, settings]

    def _compute_rotary(self, base: float) -> Floats:
        """Return cosines and sines of positions, `[longest, 2, width / 2]`."""
        tables = compute_rotary(base, self._attention.rotary_divisor, self._width, self._config.max_tokens)
        return np.stack(tables, axis=1)

    @cached_property
    def _bias(self) -> Floats | None:
        """The bias by head and distance from a query to a key, in the units of scores before they are scaled."""
        if not self._attention.num_bias_buckets:
            return None
        buckets = find_bias_buckets(self._attention.num_bias_buckets, self._config.max_tokens)
        return np.ascontiguousarray(self._arrays["distance_bias.weight"][buckets].T / np.float32(self.scale))

    @cached_property
    def _rows(self) -> NDArray[np.int32] | None:
        return find_distance_rows(self._attention, self._config.max_tokens).astype(np.int32) if self._attention.span else None

    @cached_property
    def _embeddings(self) -> Floats:
        """The embeddings of distances, `[2 * span, H]`."""
        table = self._arrays["distances.weight"]
        if not self._attention.has_distance_norm:
            return table
        centred = table - table.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + np.float32(self._config.layer_norm_eps))
        gained: Floats = centred / deviation * self._arrays["distance_norm.weight"] + self._arrays["distance_norm.bias"]
        return gained

    def _lay_out(self, projected: Floats) -> Floats:
        """Return the keys or queries of distances, `[2 * span, H]`, in panels of rows for each head."""
        filled = np.pad(projected, ((0, self.num_rows - len(projected)), (0, 0)))
        by_head = filled.reshape(self.num_rows, -1, self._width).transpose(1, 0, 2)
        return np.stack([lay_out_panels(head, self._panel) for head in by_head]).astype(np.float32)

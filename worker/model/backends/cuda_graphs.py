"""The encoder on a GPU: variable-length attention over packed texts, and the whole pass captured once for each of a few shapes.

A small encoder's operations are shorter than their launches; a CUDA graph launches all of them at once, including the readouts. A
graph has inputs of one size, so a batch is padded to the next of a few: its tokens, its texts, and its longest
text, by which attention is divided. Inputs are copied from pinned memory without waiting: the stream
keeps the order of the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from worker.batches import LIVE_PASS, PassContext
from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.reads_layers import ReadsLayers, read_states
from worker.model.encoder.encoder import Encoder, Layer
from worker.model.heads.readout import Readout
from worker.model.text.packing import padded_for_capture

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from worker.model.text.packing import Packed

# Attention over flat tokens: query, key, value `[T, A, D]`, starts `[n + 1]` int32, the longest text → `[T, A, D]`.
Attend: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]"
# The mean tokens of a text for which graphs have room, in most batches and at least; a batch with more texts runs without a graph.
_TOKENS_PER_TEXT = (16, 4)
# The number of tokens of a text that attention processes at a time.
_SHORT = 128
# The largest batches that are captured before they are needed.
_LARGEST_WARM, _MOST_WARM_TEXTS = 16_384, 1024
_NUM_WARM_UPS = 2


@dataclass(frozen=True, slots=True)
class CudaGraphShape:
    """The size of a captured pass; the last text is padding and holds the tokens past the end."""

    num_tokens: int
    num_texts: int
    longest: int

    @classmethod
    def find(cls, packed: Packed, longest: int) -> CudaGraphShape | None:
        """Return the smallest shape for these texts of at most `longest` tokens; None where there are too many of them."""
        num_tokens = padded_for_capture(len(packed.ids))
        rooms = [num_tokens // tokens_per_text for tokens_per_text in _TOKENS_PER_TEXT]
        num_texts = next((room for room in rooms if len(packed.cu_seqlens) - 1 <= room), None)
        own_longest = min(longest, _SHORT) if packed.lengths.max() <= _SHORT else longest
        return None if num_texts is None else cls(num_tokens, num_texts + 1, own_longest)

    def inputs(self, packed: Packed) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        """Return ids `[T]`, positions `[T]` and starts `[n + 1]` in one, int32.

        Padding texts have no tokens and lie at the end; padding tokens belong to no text of the batch.
        """
        given, starts = len(packed.ids), 2 * self.num_tokens
        filled = np.zeros(starts + self.num_texts + 1, dtype=np.int32)
        filled[:given] = packed.ids
        filled[self.num_tokens : self.num_tokens + given] = packed.positions
        filled[starts : starts + len(packed.cu_seqlens)] = packed.cu_seqlens
        filled[starts + len(packed.cu_seqlens) :] = given
        return filled


def attend(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """Run the library's attention for texts of different lengths."""
    mixed = varlen_attn(query, key, value, cu_seqlens, cu_seqlens, longest, longest)
    return mixed[0] if isinstance(mixed, tuple) else mixed


def forward(
    encoder: Encoder, inputs: Tensor, shape: CudaGraphShape, readings: Sequence[Readout], attend: Attend = attend
) -> list[Tensor]:
    """Return the result of each of `readings`, with the rows of padding tokens and texts."""
    config = encoder.config
    ids, positions, cu_seqlens = torch.split(inputs, [shape.num_tokens, shape.num_tokens, shape.num_texts + 1])
    layers = set().union(*(reading.layers for reading in readings))
    x = encoder.embed(ids, positions)
    states = {0: x}
    for number, layer in enumerate(encoder.layers[: max(layers)], start=1):
        if not isinstance(layer, Layer):
            raise TypeError(type(layer))
        by_head = (len(ids), 3, config.num_attention_heads, config.hidden_size // config.num_attention_heads)
        query, key, value = layer.attention.query_key_value(x).view(by_head).unbind(1)
        mixed = attend(query, key, value, cu_seqlens, shape.longest)
        x = layer.attention_norm(x + layer.attention.output(mixed.reshape(len(ids), config.hidden_size)))
        x = layer.feed_forward_norm(x + layer.contract(layer.activation(layer.expand(x))))
        if number in layers:
            states[number] = x
    return [read_states(reading, states, cu_seqlens.long()) for reading in readings]


def warm_lengths(longest: int) -> Sequence[Sequence[int]]:
    """Return the lengths of texts of batches that fill each usual shape up to 16,384 tokens, for texts of at most `longest`."""
    found = []
    for size in sorted({padded_for_capture(num_tokens) for num_tokens in range(1, _LARGEST_WARM + 1)}):
        for per_text in (tokens_per_text for tokens_per_text in _TOKENS_PER_TEXT if size // tokens_per_text <= _MOST_WARM_TEXTS):
            many = [per_text] * (size // per_text)
            found.append(many)
            if size > _SHORT:
                # As many tokens, the first text being longer than what attention takes at a time.
                taken = _SHORT // per_text + 1
                found.append([min(taken * per_text, longest), *many[taken:]])
    return found


class _Graph:
    """One captured pass: its inputs and outputs stay where they are."""

    def __init__(
        self, encoder: Encoder, shape: CudaGraphShape, readings: Sequence[Readout], device: torch.device, pool: Any
    ) -> None:
        self._inputs = torch.zeros(2 * shape.num_tokens + shape.num_texts + 1, dtype=torch.int32, device=device)
        self._graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_NUM_WARM_UPS):
                forward(encoder, self._inputs, shape, readings)
        torch.cuda.current_stream(device).wait_stream(stream)
        # Another thread may wait for its own results meanwhile.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._outputs = forward(encoder, self._inputs, shape, readings)

    def run(self, inputs: Tensor) -> list[Tensor]:
        self._inputs.copy_(inputs, non_blocking=True)
        self._graph.replay()
        return self._outputs


class CudaGraphs(ReadsLayers):
    """An encoder in bf16 or fp16 on a GPU. The next pass overwrites the results, in the order of the stream."""

    name = "compiled"
    is_reentrant = False

    def __init__(self, encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> None:
        """Move `encoder` to the GPU; raises `BackendUnavailable` where it cannot run this way."""
        if dtype not in (torch.bfloat16, torch.float16):
            raise BackendUnavailable(f"variable-length attention needs bfloat16 or float16, not {dtype}")
        if not encoder.config.is_plain:
            raise BackendUnavailable(f"the layers of {encoder.config.family} are not captured as CUDA graphs")
        self.device = device
        self.dtype = dtype
        self._encoder = encoder.to(device, dtype)
        # The captured passes; one runs at a time, so that they share the memory for intermediate results.
        self._graphs: dict[tuple[CudaGraphShape, tuple[Readout, ...]], _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self.warm_lengths = warm_lengths(encoder.config.max_tokens)

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return padded_for_capture(len(packed.ids))

    def encode(self, packed: Packed, layers: Collection[int], _context: PassContext = LIVE_PASS) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        return dict(zip(layers, self.read(packed, [Readout(((layer, 1.0),), None) for layer in layers]), strict=True))

    def read(self, packed: Packed, readings: Sequence[Readout], _context: PassContext = LIVE_PASS) -> list[Tensor]:
        """Return the result of each of `readings`, on the device, for the caller to take before the next pass."""
        shape = CudaGraphShape.find(packed, self._encoder.config.max_tokens)
        if shape is None:
            shape = CudaGraphShape(len(packed.ids), len(packed.cu_seqlens) - 1, self._encoder.config.max_tokens)
            return forward(self._encoder, torch.from_numpy(shape.inputs(packed)).to(self.device), shape, readings)
        # Not used again before it has travelled: the library keeps account of memory that is pinned.
        inputs = torch.from_numpy(shape.inputs(packed)).pin_memory()
        key = (shape, tuple(readings))
        if key not in self._graphs:
            self._graphs[key] = _Graph(self._encoder, shape, readings, self.device, self._pool)
        found = self._graphs[key].run(inputs)
        num_texts = len(packed.cu_seqlens) - 1
        return [
            result[: len(packed.ids) if reading.pooling is None else num_texts]
            for result, reading in zip(found, readings, strict=True)
        ]

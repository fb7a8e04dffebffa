"""The encoder on a GPU: variable-length attention over packed texts, and the whole pass captured once for each of a few sizes.

A small encoder's operations are shorter than their launches; a CUDA graph launches all of them at once. It wants everything of one
size, so a batch is padded to the next of a few, and its texts are counted up to a bound. Inputs travel from pinned memory without
waiting; results are copied when somebody reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from worker.model.encoder import Encoder, Layer
from worker.model.native.build import Unavailable
from worker.model.packing import padded_for_capture
from worker.model.reading import Readable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from worker.model.packing import Packed
    from worker.ports import GiveWay

# Attention over flat tokens: query, key, value `[T, A, D]`, starts `[n + 1]` int32, the longest text → `[T, A, D]`.
Attend: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]"
# A text has three tokens at least in practice; what has more texts than this runs without a graph.
_TOKENS_PER_TEXT = 4
_NUM_WARM_UPS = 2


def attend(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """Run the library's attention for texts of different lengths."""
    mixed = varlen_attn(query, key, value, cu_seqlens, cu_seqlens, longest, longest)
    return mixed[0] if isinstance(mixed, tuple) else mixed


def forward(
    encoder: Encoder,
    ids: Tensor,
    positions: Tensor,
    cu_seqlens: Tensor,
    layers: Collection[int],
    attend: Attend = attend,
) -> dict[int, Tensor]:
    """Return the states `[T, H]` after each of `layers`, for ids and positions `[T]` and starts `[n + 1]`, int32.

    Starts that repeat the end are texts without tokens, and tokens past the end belong to nobody.
    """
    config = encoder.config
    x = encoder.norm(encoder.words(ids) + encoder.positions(positions) + encoder.types.weight[0])
    states = {0: x}
    for number, layer in enumerate(encoder.layers[: max(layers)], start=1):
        if not isinstance(layer, Layer):
            raise TypeError(type(layer))
        shape = (len(ids), 3, config.num_attention_heads, config.hidden_size // config.num_attention_heads)
        query, key, value = layer.attention.query_key_value(x).view(shape).unbind(1)
        mixed = attend(query, key, value, cu_seqlens, config.max_position_embeddings)
        x = layer.attention_norm(x + layer.attention.output(mixed.reshape(len(ids), config.hidden_size)))
        x = layer.feed_forward_norm(x + layer.contract(layer.activation(layer.expand(x))))
        states[number] = x
    return {number: states[number] for number in layers}


class _Graph:
    """One captured pass: its inputs and outputs stay where they are."""

    def __init__(self, encoder: Encoder, num_tokens: int, layers: frozenset[int], device: torch.device) -> None:
        max_texts = num_tokens // _TOKENS_PER_TEXT
        # Two for the tokens, one for the starts; pinned beside those on the device.
        self.host = torch.zeros(2 * num_tokens, dtype=torch.int64).pin_memory()
        self.host_starts = torch.zeros(max_texts + 1, dtype=torch.int32).pin_memory()
        self._tokens, self._starts = self.host.to(device), self.host_starts.to(device)
        self._graph = torch.cuda.CUDAGraph()
        ids, positions = self._tokens.view(2, num_tokens)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_NUM_WARM_UPS):
                forward(encoder, ids, positions, self._starts, layers)
        torch.cuda.current_stream(device).wait_stream(stream)
        with torch.cuda.graph(self._graph):
            self._states = forward(encoder, ids, positions, self._starts, layers)

    def run(self, packed: Packed) -> dict[int, Tensor]:
        num_tokens, num_texts = len(packed.ids), len(packed.cu_seqlens) - 1
        ids, positions = self.host.view(2, -1)
        ids[:num_tokens], positions[:num_tokens] = torch.from_numpy(packed.ids), torch.from_numpy(packed.positions)
        self.host_starts[: num_texts + 1] = torch.from_numpy(packed.cu_seqlens)
        self.host_starts[num_texts + 1 :] = num_tokens
        self._tokens.copy_(self.host, non_blocking=True)
        self._starts.copy_(self.host_starts, non_blocking=True)
        self._graph.replay()
        return {number: states[:num_tokens] for number, states in self._states.items()}


class Captured(Readable):
    """An encoder in bf16 or fp16 on a GPU. The states of a pass are overwritten by the next one."""

    name = "compiled"
    is_reentrant = False

    def __init__(self, encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> None:
        """Move `encoder` to the GPU; raises `Unavailable` where it cannot run this way."""
        if dtype not in (torch.bfloat16, torch.float16):
            raise Unavailable(f"variable-length attention wants bfloat16 or float16, not {dtype}")
        self.device = device
        self.dtype = dtype
        self._encoder = encoder.to(device, dtype)
        # The captured passes, by size and layers.
        self._graphs: dict[tuple[int, frozenset[int]], _Graph] = {}

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return padded_for_capture(len(packed.ids))

    def encode(self, packed: Packed, layers: Collection[int], _give_way: GiveWay | None = None) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        num_tokens = padded_for_capture(len(packed.ids))
        if len(packed.cu_seqlens) - 1 > num_tokens // _TOKENS_PER_TEXT:
            ids, positions, starts = (
                torch.from_numpy(it).to(self.device) for it in (packed.ids, packed.positions, packed.cu_seqlens)
            )
            return forward(self._encoder, ids, positions, starts.int(), layers)
        key = (num_tokens, frozenset(layers))
        if key not in self._graphs:
            self._graphs[key] = _Graph(self._encoder, num_tokens, key[1], self.device)
        torch.cuda.current_stream(self.device).synchronize()
        return self._graphs[key].run(packed)

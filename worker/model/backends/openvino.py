"""The encoder in OpenVINO, a runtime made for inference on CPUs: the fast way where the kernels cannot be compiled.

Texts lie end to end in rows of a few lengths (`packing.rows_by_length`), kept apart by a mask; the number of rows is left open, so
that one copy of the laid-out weights serves every batch. The graph is compiled at each start: that takes 0.3 s for twelve layers,
as long as reading it from a cache on disk does, which would add the weights' size to the disk and to memory.

Shapes: `R` rows of `L` places, `H` hidden, `A` heads of width `D = H / A`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worker.batches import LIVE_PASS, PassContext
from worker.model.backends.native.build import BackendUnavailable
from worker.model.backends.openvino_import import import_openvino
from worker.model.encoder import Layer
from worker.model.packing import pack, rows_by_length
from worker.model.readout import ReadsLayers

try:
    openvino = import_openvino()
    from openvino import opset15 as ops
except ImportError:
    openvino = None

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor, nn

    from worker.model.encoder import Encoder
    from worker.model.packing import Packed

_PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}
# Added to the score of a token of another text: its share is then exactly 0, in bf16 too.
_FORBIDDEN = -1e4


class OpenVino(ReadsLayers):
    """An encoder in fp32 or bf16 on a CPU."""

    name = "openvino"
    is_reentrant = False
    device = torch.device("cpu")

    def __init__(self, encoder: Encoder, *, dtype: torch.dtype) -> None:
        """Use the weights of `encoder`; raises `BackendUnavailable` where the runtime is not installed or does not work here."""
        if openvino is None:
            raise BackendUnavailable("OpenVINO is not installed: `pip install 'gist-stream[openvino]'`")
        if dtype not in _PRECISIONS:
            raise BackendUnavailable(f"OpenVINO computes in {' and '.join(map(str, _PRECISIONS))} here, not in {dtype}")
        self.dtype = dtype
        self._encoder = encoder
        # A compiled graph for each set of layers that was asked for; the copies of the weights are the runtime's.
        self._requests: dict[frozenset[int], Any] = {}
        try:
            self._core = openvino.Core()
            self._compile([1])
        except RuntimeError as error:
            raise BackendUnavailable(f"OpenVINO does not work here: {str(error).strip().splitlines()[-1]}") from error

    def num_rows(self, packed: Packed) -> int:
        """Return how many rows a product computes for these texts."""
        return sum(rows.tokens.size for rows in rows_by_length(packed)[0])

    def encode(self, packed: Packed, layers: Collection[int], _context: PassContext = LIVE_PASS) -> dict[int, Tensor]:
        """Return the states after each of `layers`."""
        key = frozenset(layers)
        if key not in self._requests:
            self._requests[key] = self._compile(sorted(key))
        request, outputs = self._requests[key], sorted(key)
        groups, place_of_token = rows_by_length(packed)
        places: list[list[Tensor]] = [[] for _ in outputs]
        for rows in groups:
            inputs = [packed.ids[rows.tokens], packed.positions[rows.tokens], rows.sequences]
            # The outputs are the runtime's memory, which the next group overwrites.
            found = request.infer([it.astype(np.int32) for it in inputs], share_inputs=True, share_outputs=True)
            for number, own in enumerate(places):
                own.append(torch.from_numpy(found[number]).flatten(0, 1).to(self.dtype, copy=True))
        place = torch.from_numpy(place_of_token)
        states = {layer: torch.cat(own)[place] for layer, own in zip(outputs, places, strict=True)}
        if len(packed.lengths) > 1 and not all(it.sum(dtype=torch.float32).isfinite() for it in states.values()):
            # No mask holds back a NaN, so one text may have spoilt those in its row: each is computed alone.
            alone = [self.encode(pack([it]), layers) for it in np.split(packed.ids.astype(np.int32), packed.cu_seqlens[1:-1])]
            states = {layer: torch.cat([its[layer] for its in alone]) for layer in layers}
        return {layer: states[layer] for layer in layers}

    def _compile(self, layers: list[int]) -> Any:
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[self.dtype],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            # Two workers on one machine would be tied to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(_graph(self._encoder, layers), "CPU", options).create_infer_request()


def _graph(encoder: Encoder, layers: list[int]) -> Any:
    """Return the model: ids, positions and numbers of texts, all int32 `[R, L]` → the states of each layer, fp32 `[R, L, H]`."""
    ids, positions, texts = (ops.parameter([-1, -1], np.int32) for _ in range(3))
    words = ops.gather(_shared(encoder.words.weight), ids, _whole(0))
    # A single text is a sentence of type 0.
    places = ops.gather(_shared(encoder.positions.weight + encoder.types.weight[0]), positions, _whole(0))
    x = _norm(ops.add(words, places), encoder.norm)
    is_own = ops.equal(ops.unsqueeze(texts, _whole(1)), ops.unsqueeze(texts, _whole(2)))
    mask = ops.unsqueeze(ops.select(is_own, np.float32(0), np.float32(_FORBIDDEN)), _whole(1))  # [R, 1, L, L]
    states = [x]
    for layer in encoder.layers[: max(layers)]:
        if isinstance(layer, Layer):
            x = _layer(x, mask, layer, encoder.config.hidden_act)
            states.append(x)
    return openvino.Model([ops.result(states[it]) for it in layers], [ids, positions, texts], "encoder")


def _layer(x: Any, mask: Any, source: Layer, activation: str) -> Any:
    """[R, L, H] → [R, L, H]."""
    attended = _linear(_attention(_linear(x, source.attention.query_key_value), mask, source), source.attention.output)
    x = _norm(ops.add(x, attended), source.attention_norm)
    return _norm(ops.add(x, _linear(_activate(_linear(x, source.expand), activation), source.contract)), source.feed_forward_norm)


def _attention(projected: Any, mask: Any, source: Layer) -> Any:
    """[R, L, 3H] → [R, L, H]."""
    hidden, num_heads = source.attention.output.in_features, source.attention.num_heads
    width = hidden // num_heads
    split = ops.reshape(projected, _whole(0, 0, 3, num_heads, width), special_zero=True)
    split = ops.transpose(split, _whole(2, 0, 3, 1, 4))
    query, key, value = (ops.gather(split, _whole(number), _whole(0)) for number in range(3))  # three of [R, A, L, D]
    scores = ops.multiply(ops.matmul(query, key, transpose_a=False, transpose_b=True), np.float32(width**-0.5))
    mixed = ops.matmul(ops.softmax(ops.add(scores, mask), -1), value, transpose_a=False, transpose_b=False)
    return ops.reshape(ops.transpose(mixed, _whole(0, 2, 1, 3)), _whole(0, 0, hidden), special_zero=True)


def _linear(x: Any, source: nn.Linear) -> Any:
    return ops.add(ops.matmul(x, _shared(source.weight), transpose_a=False, transpose_b=True), _shared(source.bias))


def _activate(x: Any, name: str) -> Any:
    return ops.relu(x) if name == "relu" else ops.gelu(x, "erf" if name == "gelu" else "tanh")


def _norm(x: Any, source: nn.LayerNorm) -> Any:
    normalised = ops.mvn(x, _whole(-1), normalize_variance=True, eps=source.eps, eps_mode="inside_sqrt")
    return ops.add(ops.multiply(normalised, _shared(source.weight)), _shared(source.bias))


def _shared(tensor: Tensor) -> Any:
    """Return a constant that reads the tensor's own memory."""
    return ops.constant(tensor.detach().float().contiguous().numpy(), shared_memory=True)


def _whole(*numbers: int) -> Any:
    return ops.constant(np.array(numbers if len(numbers) > 1 or numbers[0] < 0 else numbers[0], dtype=np.int64))

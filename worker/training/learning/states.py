"""The encoder states that heads read during training: computed at each step, or cached on disk for a frozen encoder.

If only the upper layers are tuned, the states below them are cached. Every class returns the states of some texts of a task, one
tensor for each layer that the head reads.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from worker.model.backends.choice import choose
from worker.model.encoder.encoder import to_weights
from worker.model.encoder.packed_tensors import PackedTensors
from worker.model.heads.readout import Readout
from worker.model.pooling.torch_pooling import pool
from worker.model.processor.devices import choose_format
from worker.model.text.packing import pack
from worker.training.learning.sampling import split_by_tokens
from worker.training.learning.tasks import concatenate_ranges
from worker.training.learning.word_pieces import find_first_pieces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.encoder.encoder import Encoder
    from worker.model.heads.head_config import HeadConfig
    from worker.model.pooling.pooling import Pooling
    from worker.model.text.packing import Packed
    from worker.records import Tokens
    from worker.training.learning.state_cache import StateCache
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter

#: The kind of a task's rows.
Kind: TypeAlias = Literal["texts", "tokens", "words"]
_TOKENS_PER_PASS = 4096
_CPU = torch.device("cpu")


class States(Protocol):
    """A source of states for heads."""

    @property
    def seconds_encoding(self) -> float:
        """Duration of the computation of cached states, which is no part of training."""

    def read(self, task: TrainingTask, texts: NDArray[np.int64]) -> list[Tensor]:
        """Return the states of the concatenated rows of some texts, `[rows, H]`, fp32, for each layer of the task's head."""

    def with_drift(self, task: TrainingTask, texts: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Return the states, and the drift of the texts' vectors since the start: the mean of 1 - cosine, a scalar."""


class Live:
    """The states of a tuned encoder, computed at each call, with gradients."""

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        *,
        dtype: torch.dtype,
        lower: Frozen | None = None,
        before: Frozen | None = None,
    ) -> None:
        """Use the current parameters of an encoder.

        `dtype` is the data type of matrix products, `lower` has the states of the frozen layers, `before` is the untuned encoder.
        """
        self._encoder = encoder
        self._pooling = pooling
        self._dtype = dtype
        self._lower = lower
        self._before = before

    @property
    def seconds_encoding(self) -> float:
        """Duration for the frozen layers and for the untuned encoder."""
        return sum(states.seconds_encoding for states in (self._lower, self._before) if states is not None)

    def read(self, task: TrainingTask, texts: NDArray[np.int64]) -> list[Tensor]:
        """Run the texts through the encoder, or through its tuned layers."""
        return self._run(task, texts, task.head.layers)[0]

    def with_drift(self, task: TrainingTask, texts: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Run the texts, and compare their vectors with those of the untuned encoder."""
        if self._before is None:
            return self.read(task, texts), torch.zeros(())
        last = self._encoder.config.num_hidden_layers
        rows, states, cu_seqlens = self._run(task, texts, {*task.head.layers, last})
        vectors = pool(states[last], cu_seqlens, self._pooling)
        return rows, (1 - functional.cosine_similarity(vectors, self._before.pooled(task, texts))).mean()

    def _run(
        self, task: TrainingTask, texts: NDArray[np.int64], layers: Collection[int]
    ) -> tuple[list[Tensor], Mapping[int, Tensor], Tensor]:
        """Return the rows of the head, the token states after some layers, and the first token of each text, `[n + 1]`."""
        tokens = [task.tokens[text] for text in texts.tolist()]
        packed = pack([own_tokens.ids for own_tokens in tokens])
        known = None if self._lower is None else self._lower.below(task, texts)
        is_mixed = self._dtype != torch.float32
        precision: AbstractContextManager[object] = torch.autocast("cpu", self._dtype) if is_mixed else nullcontext()
        with precision:
            batch = PackedTensors.from_packed(packed, device=_CPU, dtype=self._dtype)
            states = self._encoder(batch, set(layers), known)
        rows = list(select_rows(classify_states(task.head), states, task.head.layers, packed, tokens, self._pooling))
        return rows, states, torch.from_numpy(packed.cu_seqlens)


class Frozen:
    """The states of a frozen encoder or of its lowest layers, computed once and cached on disk."""

    def __init__(
        self, encoder: Encoder, pooling: Pooling, store: StateCache, reporter: Reporter, *, num_layers: int | None = None
    ) -> None:
        """Cache states in `store`, and report progress to `reporter`; `num_layers` limits the layers from the bottom."""
        self._encoder = encoder
        self._pooling = pooling
        self._store = store
        self._reporter = reporter
        self._num_layers = encoder.config.num_hidden_layers if num_layers is None else num_layers
        self._digest = compute_digest(encoder, self._num_layers)
        # By the name of a task's head: the first row of each text, and the states of each layer.
        self._known: dict[str, tuple[NDArray[np.int64], list[NDArray[np.float16]]]] = {}
        #: The number of encoded texts.
        self.num_encoded = 0
        #: The duration of the encoding.
        self.seconds_encoding = 0.0

    def read(self, task: TrainingTask, texts: NDArray[np.int64]) -> list[Tensor]:
        """Return cached states; the first call computes the missing states of the whole task."""
        return self._rows(task, texts, classify_states(task.head), task.head.layers)

    def with_drift(self, task: TrainingTask, texts: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Return cached states; a frozen encoder has no drift."""
        return self.read(task, texts), torch.zeros(())

    def pooled(self, task: TrainingTask, texts: NDArray[np.int64]) -> Tensor:
        """Return the pooled states of the texts after the highest layer, `[n, H]`, fp32."""
        return self._rows(task, texts, "texts", [self._num_layers])[0]

    def below(self, task: TrainingTask, texts: NDArray[np.int64]) -> dict[int, Tensor]:
        """Return the token states after the highest layer, and after the lower layers that the task's head reads."""
        layers = sorted({layer for layer in task.head.layers if layer < self._num_layers} | {self._num_layers})
        return dict(zip(layers, self._rows(task, texts, "tokens", layers), strict=True))

    def _rows(self, task: TrainingTask, texts: NDArray[np.int64], kind: Kind, layers: Sequence[int]) -> list[Tensor]:
        """Return the rows of some texts, fp32; every call for a task has the same kind and layers."""
        if task.head.name not in self._known:
            starts = _starts(task, kind)
            self._known[task.head.name] = starts, self._states(task, kind, layers, int(starts[-1]))
        starts, states = self._known[task.head.name]
        rows, _ = concatenate_ranges(starts[texts], starts[texts + 1])
        return [torch.from_numpy(layer[rows].astype(np.float32)) for layer in states]

    def _states(self, task: TrainingTask, kind: Kind, layers: Sequence[int], num_rows: int) -> list[NDArray[np.float16]]:
        key = _key(self._digest, self._pooling if kind == "texts" else kind, task.tokens)
        began = time.perf_counter()
        if missing := self._store.find_missing(key, layers):
            shape = (num_rows, self._encoder.config.hidden_size)
            with (
                self._store.add(key, missing, shape) as files,
                self._reporter.track(f"encoding the texts of {task.head.name}", len(task.tokens)) as advance,
            ):
                for states, packed, tokens in self._passes(task.tokens, missing):
                    own = select_rows(kind, states, missing, packed, tokens, self._pooling)
                    for layer, rows in zip(missing, own, strict=True):
                        files[layer].write(rows.half().numpy().tobytes())
                    advance(len(tokens))
                    self.num_encoded += len(tokens)
        self.seconds_encoding += time.perf_counter() - began
        return self._store.read(key, layers)

    @torch.inference_mode()
    def _passes(
        self, tokens: Sequence[Tokens], layers: Collection[int]
    ) -> Iterator[tuple[Mapping[int, Tensor], Packed, Sequence[Tokens]]]:
        """Yield the states of a group of texts at a time, in order."""
        # The backend keeps a copy of the weights: a later phase may tune the encoder.
        weights = to_weights(self._encoder)
        backend, _ = choose(weights, "auto", device="cpu", dtype=choose_format("auto", "cpu"))
        if backend.name == "eager":
            # Only the kernels make a narrow format fast: without them, the states are exact.
            backend, _ = choose(weights, "eager", device="cpu", dtype="float32")
        readouts = [Readout(((layer, 1.0),), None) for layer in layers]
        for texts in split_by_tokens([len(text) for text in tokens], _TOKENS_PER_PASS):
            packed = pack([text.ids for text in tokens[texts]])
            states = map(torch.from_numpy, backend.begin(packed, readouts).wait())
            yield dict(zip(layers, states, strict=True)), packed, tokens[texts]


def classify_states(head: HeadConfig) -> Kind:
    """Return the kind of a head's rows."""
    if head.task == "ner":
        return "words"
    return "tokens" if head.has_attention else "texts"


def _starts(task: TrainingTask, kind: Kind) -> NDArray[np.int64]:
    """Return the first row of each text, `[texts + 1]`."""
    if kind == classify_states(task.head):
        return task.starts
    return np.cumsum([0, *(len(own_tokens) if kind == "tokens" else 1 for own_tokens in task.tokens)])


def select_rows(
    kind: Kind,
    states: Mapping[int, Tensor],
    layers: Sequence[int],
    packed: Packed,
    tokens: Sequence[Tokens],
    pooling: Pooling,
) -> Iterator[Tensor]:
    """Return for each layer the rows of a task, fp32: the first piece of each word, each token, or each text pooled."""
    cu_seqlens = torch.from_numpy(packed.cu_seqlens)
    if kind == "texts":
        return (pool(states[layer], cu_seqlens, pooling) for layer in layers)
    if kind == "tokens":
        return (states[layer][: packed.cu_seqlens[-1]].float() for layer in layers)
    starts = packed.cu_seqlens[:-1].tolist()
    pieces = [start + find_first_pieces(text) for start, text in zip(starts, tokens, strict=True)]
    rows = torch.from_numpy(np.concatenate(pieces))
    return (states[layer][rows].float() for layer in layers)


@torch.no_grad()
def compute_digest(encoder: Encoder, num_layers: int) -> str:
    """Return the sha256 of the parameters of an encoder's embeddings and lowest layers."""
    above = tuple(f"layers.{number}." for number in range(num_layers, encoder.config.num_hidden_layers))
    whole = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        if not name.startswith(above):
            whole.update(name.encode())
            whole.update(value.float().contiguous().numpy().data)
    return whole.hexdigest()


def _key(digest: str, kind: str, tokens: Sequence[Tokens]) -> str:
    """Return the cache key of an encoder's states for some texts."""
    whole = hashlib.sha256(f"{digest} {kind} {choose_format('auto', 'cpu')}".encode())
    for own_tokens in tokens:
        whole.update(len(own_tokens).to_bytes(4, "little"))
        whole.update(np.ascontiguousarray(own_tokens.ids).data)
        whole.update(np.ascontiguousarray(own_tokens.words).data)
    return whole.hexdigest()[:32]

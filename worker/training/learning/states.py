"""What heads read while they learn: the states of an encoder that learns too, or of one that does not, kept on disk.

Of an encoder whose upper layers alone learn, the layers below are kept. All answer the same question: the states of some texts of a
task, a tensor for each layer that its head reads.
"""

from __future__ import annotations

import copy
import hashlib
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from worker.model.backends.choice import choose
from worker.model.encoder import PackedTensors
from worker.model.engine import number_format
from worker.model.packing import pack
from worker.model.pooling import pool
from worker.training.learning.tasks import ranges
from worker.training.learning.word_pieces import first_pieces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.encoder import Encoder
    from worker.model.heads import HeadConfig
    from worker.model.packing import Packed
    from worker.model.pooling import Pooling
    from worker.records import Tokens
    from worker.training.learning.state_cache import StateCache
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter

#: What the rows of a task are.
Kind: TypeAlias = Literal["texts", "tokens", "words"]
_TOKENS_PER_PASS = 4096
_CPU = torch.device("cpu")


class States(Protocol):
    """Gives a head what it reads."""

    @property
    def seconds_encoding(self) -> float:
        """How long it took to compute what is kept: that is done once, and is no part of learning."""

    def of(self, task: TrainingTask, texts: NDArray[np.int64]) -> list[Tensor]:
        """Return the states of the rows of some texts, end to end: `[rows, H]`, fp32, for each layer of the task's head."""

    def with_drift(self, task: TrainingTask, texts: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Return besides how far the vectors of the texts have gone from what they were: the mean of 1 - cosine, a scalar."""


class Live:
    """The states of an encoder that learns, computed anew each time, with gradients where they are wanted."""

    def __init__(
        self,
        encoder: Encoder,
        pooling: Pooling,
        *,
        dtype: torch.dtype,
        lower: Frozen | None = None,
        before: Frozen | None = None,
    ) -> None:
        """Use an encoder as it is at each moment.

        `dtype` is that of its products, `lower` has its layers that do not learn, `before` is the encoder before it learned.
        """
        self._encoder = encoder
        self._pooling = pooling
        self._dtype = dtype
        self._lower = lower
        self._before = before

    @property
    def seconds_encoding(self) -> float:
        """That of its lower layers, and of the encoder before it learned."""
        return sum(states.seconds_encoding for states in (self._lower, self._before) if states is not None)

    def of(self, task: TrainingTask, texts: NDArray[np.int64]) -> list[Tensor]:
        """Run the texts through the encoder, or through its layers that learn."""
        return self._run(task, texts, task.head.layers)[0]

    def with_drift(self, task: TrainingTask, texts: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Run the texts, and hold their vectors against those of the encoder before it learned."""
        if self._before is None:
            return self.of(task, texts), torch.zeros(())
        last = self._encoder.config.num_hidden_layers
        rows, states, cu_seqlens = self._run(task, texts, {*task.head.layers, last})
        vectors = pool(states[last], cu_seqlens, self._pooling)
        return rows, (1 - functional.cosine_similarity(vectors, self._before.pooled(task, texts))).mean()

    def _run(
        self, task: TrainingTask, texts: NDArray[np.int64], layers: Collection[int]
    ) -> tuple[list[Tensor], Mapping[int, Tensor], Tensor]:
        """Return the rows of the head, the states of the tokens after some layers, and where each text starts, `[n + 1]`."""
        tokens = [task.tokens[text] for text in texts.tolist()]
        packed = pack([own_tokens.ids for own_tokens in tokens])
        known = None if self._lower is None else self._lower.below(task, texts)
        is_mixed = self._dtype != torch.float32
        precision: AbstractContextManager[object] = torch.autocast("cpu", self._dtype) if is_mixed else nullcontext()
        with precision:
            batch = PackedTensors.of(packed, device=_CPU, dtype=self._dtype)
            states = self._encoder(batch, set(layers), known)
        rows = list(rows_of(classify_states(task.head), states, task.head.layers, packed, tokens, self._pooling))
        return rows, states, torch.from_numpy(packed.cu_seqlens)


class Frozen:
    """The states of an encoder, or of its lowest layers, that do not learn: computed once for all texts, and kept on disk."""

    def __init__(
        self, encoder: Encoder, pooling: Pooling, store: StateCache, reporter: Reporter, *, num_layers: int | None = None
    ) -> None:
        """Keep what is computed in `store`, and say through `reporter` what takes long; unset, all layers count."""
        self._encoder = encoder
        self._pooling = pooling
        self._store = store
        self._reporter = reporter
        self._num_layers = encoder.config.num_hidden_layers if num_layers is None else num_layers
        self._digest = compute_digest(encoder, self._num_layers)
        # Of the tasks that were asked for, by the name of their head: where the rows of each text start, and those of each layer.
        self._known: dict[str, tuple[NDArray[np.int64], list[NDArray[np.float16]]]] = {}
        #: How many texts the encoder has read.
        self.num_encoded = 0
        #: How long that took.
        self.seconds_encoding = 0.0

    def of(self, task: TrainingTask, texts: NDArray[np.int64]) -> list[Tensor]:
        """Read the states of the texts from the disk; compute those of the whole task first where they are not there."""
        return self._rows(task, texts, classify_states(task.head), task.head.layers)

    def with_drift(self, task: TrainingTask, texts: NDArray[np.int64]) -> tuple[list[Tensor], Tensor]:
        """Read the states; what does not learn stays where it is."""
        return self.of(task, texts), torch.zeros(())

    def pooled(self, task: TrainingTask, texts: NDArray[np.int64]) -> Tensor:
        """Return the pooled states of the texts after the highest layer, `[n, H]`, fp32."""
        return self._rows(task, texts, "texts", [self._num_layers])[0]

    def below(self, task: TrainingTask, texts: NDArray[np.int64]) -> dict[int, Tensor]:
        """Return those of the texts' tokens after the highest layer, and after the lower ones that the task's head reads."""
        layers = sorted({layer for layer in task.head.layers if layer < self._num_layers} | {self._num_layers})
        return dict(zip(layers, self._rows(task, texts, "tokens", layers), strict=True))

    def _rows(self, task: TrainingTask, texts: NDArray[np.int64], kind: Kind, layers: Sequence[int]) -> list[Tensor]:
        """Return the rows of some texts, fp32; a task is asked for the same kind and layers each time."""
        if task.head.name not in self._known:
            starts = _starts(task, kind)
            self._known[task.head.name] = starts, self._states(task, kind, layers, int(starts[-1]))
        starts, states = self._known[task.head.name]
        rows, _ = ranges(starts[texts], starts[texts + 1])
        return [torch.from_numpy(layer[rows].astype(np.float32)) for layer in states]

    def _states(self, task: TrainingTask, kind: Kind, layers: Sequence[int], num_rows: int) -> list[NDArray[np.float16]]:
        key = _key(self._digest, self._pooling if kind == "texts" else kind, task.tokens)
        began = time.perf_counter()
        if missing := self._store.missing(key, layers):
            shape = (num_rows, self._encoder.config.hidden_size)
            with (
                self._store.adding(key, missing, shape) as files,
                self._reporter.track(f"encoding the texts of {task.head.name}", len(task.tokens)) as advance,
            ):
                for states, packed, tokens in self._passes(task.tokens, missing):
                    own = rows_of(kind, states, missing, packed, tokens, self._pooling)
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
        """Yield the states of some texts at a time, in order."""
        # The way that serves runs a copy: some change what they run, and ours may learn again.
        backend, _ = choose(copy.deepcopy(self._encoder), "auto", device=_CPU, dtype=number_format("auto", _CPU))
        first = 0
        while first < len(tokens):
            end, total = first, 0
            while end < len(tokens) and (end == first or total + len(tokens[end]) <= _TOKENS_PER_PASS):
                total += len(tokens[end])
                end += 1
            packed = pack([own_tokens.ids for own_tokens in tokens[first:end]])
            yield backend.encode(packed, layers), packed, tokens[first:end]
            first = end


def classify_states(head: HeadConfig) -> Kind:
    """Return what the rows of a head are."""
    if head.task == "ner":
        return "words"
    return "tokens" if head.has_attention else "texts"


def _starts(task: TrainingTask, kind: Kind) -> NDArray[np.int64]:
    """Return where the rows of each text start, `[texts + 1]`."""
    if kind == classify_states(task.head):
        return task.starts
    return np.cumsum([0, *(len(own_tokens) if kind == "tokens" else 1 for own_tokens in task.tokens)])


def rows_of(
    kind: Kind,
    states: Mapping[int, Tensor],
    layers: Sequence[int],
    packed: Packed,
    tokens: Sequence[Tokens],
    pooling: Pooling,
) -> Iterator[Tensor]:
    """Yield for each layer the rows of a task, fp32: the first piece of each word, each token, or each text pooled."""
    cu_seqlens = torch.from_numpy(packed.cu_seqlens)
    if kind == "texts":
        yield from (pool(states[layer], cu_seqlens, pooling) for layer in layers)
        return
    if kind == "tokens":
        yield from (states[layer][: packed.cu_seqlens[-1]].float() for layer in layers)
        return
    starts = packed.cu_seqlens[:-1].tolist()
    places = torch.from_numpy(
        np.concatenate([start + first_pieces(own_tokens) for start, own_tokens in zip(starts, tokens, strict=True)])
    )
    yield from (states[layer][places].float() for layer in layers)


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
    """Return the name of the states that an encoder has for some texts."""
    whole = hashlib.sha256(f"{digest} {kind} {number_format('auto', _CPU)}".encode())
    for own_tokens in tokens:
        whole.update(len(own_tokens).to_bytes(4, "little"))
        whole.update(np.ascontiguousarray(own_tokens.ids).data)
        whole.update(np.ascontiguousarray(own_tokens.words).data)
    return whole.hexdigest()[:32]

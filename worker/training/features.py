"""What a head reads, computed once: the states of a frozen encoder for every text, kept on disk.

A cache entry is named by what it depends on (the encoder's weights, the layers, the texts), so that a second run with other heads
does not touch the encoder, and nothing stale is ever read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from worker.model.encoder import PackedTensors
from worker.model.packing import pack
from worker.model.sentence import pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.checkpoint import Checkpoint
    from worker.records import Tokens

_TOKENS_PER_PASS = 8192


class Features:
    """Encodes texts with the encoder of a checkpoint; states are float16, shape `[rows, layers, H]`, memory-mapped."""

    def __init__(self, loaded: Checkpoint, cache: Path, progress: Callable[[str], None]) -> None:
        """Keep what is computed in `cache` and say through `progress` what takes long."""
        self._loaded = loaded
        self._cache = cache
        self._progress = progress

    def sentences(self, texts: Sequence[str], layers: Sequence[int]) -> NDArray[np.float16]:
        """Return the pooled states of each text, one row a text."""
        return self._cached("sentences", texts, layers, lambda states, cu, _tokens: _pooled(self._loaded, states, cu))

    def words(self, texts: Sequence[str], layers: Sequence[int]) -> NDArray[np.float16]:
        """Return the states of the first piece of each word, one row a word, the words of a text together."""
        return self._cached("words", texts, layers, _first_piece_states)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize as the engine does."""
        return self._loaded.tokenizer.encode(texts)

    def _cached(
        self,
        kind: str,
        texts: Sequence[str],
        layers: Sequence[int],
        rows_of: Callable[[torch.Tensor, torch.Tensor, Sequence[Tokens]], torch.Tensor],
    ) -> NDArray[np.float16]:
        parts = [self._loaded.name, kind, str(tuple(layers)), *texts]
        path = self._cache / f"{kind}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}.npy"
        if not path.exists():
            self._progress(f"encoding {len(texts)} texts")
            rows = [rows_of(states, cu, tokens).half().numpy() for states, cu, tokens in self._passes(texts, layers)]
            self._cache.mkdir(parents=True, exist_ok=True)
            # Under another name first: a file that is there is whole.
            unfinished = path.with_suffix(".part.npy")
            np.save(unfinished, np.concatenate(rows))
            unfinished.rename(path)
        cached: NDArray[np.float16] = np.load(path, mmap_mode="r")
        return cached

    @torch.inference_mode()
    def _passes(self, texts: Sequence[str], layers: Sequence[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor, Sequence[Tokens]]]:
        """Yield the states `[T, layers, H]`, the starts and the tokens of some texts at a time, in order."""
        encoder = self._loaded.encoder
        tokens = self.tokenize(texts)
        first = 0
        while first < len(tokens):
            end, total = first, 0
            while end < len(tokens) and (end == first or total + len(tokens[end]) <= _TOKENS_PER_PASS):
                total += len(tokens[end])
                end += 1
            packed = pack([it.ids for it in tokens[first:end]])
            batch = PackedTensors.of(packed, device=torch.device("cpu"), dtype=next(encoder.parameters()).dtype)
            states = encoder(batch, set(layers))
            yield torch.stack([states[layer] for layer in layers], dim=1), torch.from_numpy(packed.cu_seqlens), tokens[first:end]
            first = end


def _pooled(loaded: Checkpoint, states: torch.Tensor, cu_seqlens: torch.Tensor) -> torch.Tensor:
    return torch.stack([pool(it, cu_seqlens, loaded.heads.sentence.pooling) for it in states.unbind(1)], dim=1)


def _first_piece_states(states: torch.Tensor, cu_seqlens: torch.Tensor, tokens: Sequence[Tokens]) -> torch.Tensor:
    places = [start + first_pieces(it) for start, it in zip(cu_seqlens.tolist(), tokens, strict=False)]
    return states[torch.from_numpy(np.concatenate(places))]


def first_pieces(tokens: Tokens) -> NDArray[np.intp]:
    """Return the places of the first piece of each word."""
    return np.flatnonzero((tokens.words >= 0) & (np.diff(tokens.words, prepend=-1) != 0))

"""How far our ways are from fp32, on real texts: from transformers for the vectors, from our own heads in fp32 for the rest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch

from worker.bench.engine.ours import load
from worker.bench.engine.peers import VectorOf, padded_batches, side_by_side
from worker.model.backends.choice import BackendName
from worker.model.checkpoint.references import locate
from worker.model.engine import Engine
from worker.model.quantization import difference, predictions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus
    from worker.records import Tokens

_BATCH_SIZE = 32


class Judge:
    """Compares our ways with fp32, text by text."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Load the model in fp32."""
        torch.set_num_threads(job.threads)
        self._reference, self._published, self._device = job.model, job.encoder, job.device
        self._corpora = corpora
        self._exact = Engine.load(job.model, device="cpu", dtype="float32", backend="eager")

    def about(self) -> dict[str, Any]:
        """Say what runs."""
        return {"about": f"{self._exact.name} in fp32"}

    def compare(self, corpus: str, num_texts: int, ways: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return for each way a `calibration.Difference` from our fp32, and `min_cosine_to_fp32`: to transformers in fp32."""
        texts = self._corpora[corpus].texts[:num_texts]
        true = self._vectors(self._exact.tokenize(texts))
        exact = predictions(self._exact, texts)
        found = {}
        for way in get_args(BackendName):
            if way in ways:
                ours = predictions(load(self._reference, way, texts, device=self._device)[1], texts)
                vectors = np.stack([it.embedding for it in ours if it.embedding is not None])
                cosines = (vectors * true).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(true, axis=1)
                found[way] = {"min_cosine_to_fp32": float(cosines.min()), **asdict(difference(exact, ours))}
        return found

    @torch.inference_mode()
    def _vectors(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return the vectors `[n, H]` by transformers in fp32."""
        vector_of = VectorOf(Path(locate(self._published).directory), torch.float32)
        sequences = [it.ids.astype(np.int64) for it in tokens]
        found: dict[int, Any] = {}
        for places in padded_batches(sequences, _BATCH_SIZE, is_sorted=True):
            ids, mask = side_by_side([sequences[place] for place in places])
            found |= zip(places, vector_of(torch.from_numpy(ids), torch.from_numpy(mask)).numpy(), strict=True)
        return np.stack([found[place] for place in range(len(tokens))])

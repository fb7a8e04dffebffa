"""Compares the outputs of backends with fp32 on real texts: vectors with transformers, labels and entities with eager."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worker.bench.engine.candidates.baselines import PooledModel, pad, split_batches
from worker.bench.engine.candidates.gist_engine import CHOICES, load
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


class OutputComparison:
    """Compares backends with fp32, text by text."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Load the model in fp32."""
        torch.set_num_threads(job.threads)
        self._reference, self._published, self._device = job.model, job.encoder, job.device
        self._corpora = corpora
        self._exact = Engine.load(job.model, device="cpu", dtype="float32", backend="eager")

    def about(self) -> dict[str, Any]:
        """Return a description."""
        return {"about": f"{self._exact.name} in fp32"}

    def compare(self, corpus: str, num_texts: int, backends: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return for each backend a `quantization.Difference` from eager fp32, and the minimum cosine to transformers in fp32."""
        texts = self._corpora[corpus].texts[:num_texts]
        true = self._encode(self._exact.tokenize(texts))
        exact = predictions(self._exact, texts)
        found: dict[str, dict[str, float]] = {}
        for backend in CHOICES:
            if backend in backends:
                outputs = predictions(load(self._reference, backend, texts, device=self._device)[1], texts)
                vectors = np.stack([output.embedding for output in outputs if output.embedding is not None])
                cosines = (vectors * true).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(true, axis=1)
                found[backend] = {"min_cosine_to_fp32": float(cosines.min()), **asdict(difference(exact, outputs))}
        return found

    @torch.inference_mode()
    def _encode(self, tokens: Sequence[Tokens]) -> NDArray[np.float32]:
        """Return the vectors `[n, H]` of transformers in fp32."""
        model = PooledModel(Path(locate(self._published).directory), torch.float32)
        sequences = [text.ids.astype(np.int64) for text in tokens]
        found: dict[int, Any] = {}
        for indices in split_batches(sequences, _BATCH_SIZE, is_sorted=True):
            ids, mask = pad([sequences[index] for index in indices])
            found |= zip(indices, model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy(), strict=True)
        return np.stack([found[index] for index in range(len(tokens))])

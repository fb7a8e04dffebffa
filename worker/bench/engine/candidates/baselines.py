"""The baselines: transformers, SentenceTransformers and OpenVINO, with default and with tuned batches."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from worker.bench.engine.measures import Sample
from worker.bench.engine.openvino_import import import_openvino
from worker.model.pooling import PoolingConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus


class PooledModel(nn.Module):
    """A transformers model with its published pooling: ids and mask `[n, L]` in, vectors `[n, H]` out."""

    def __init__(self, directory: Path, dtype: torch.dtype) -> None:
        """Load the published model."""
        from transformers import AutoModel  # noqa: PLC0415  slow to import, and SentenceTransformers does not need it

        super().__init__()
        self._model = AutoModel.from_pretrained(directory, add_pooling_layer=False, dtype=dtype).eval()
        self._is_cls = PoolingConfig.read(directory).pooling == "cls"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode, pool and normalise."""
        states = self._model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(states.dtype)
        pooled = states[:, 0] if self._is_cls else (states * weights).sum(1) / weights.sum(1)
        vectors: Tensor = nn.functional.normalize(pooled.float(), dim=-1)
        return vectors


def pad(sequences: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask `[n, L]`, padded to the longest sequence."""
    longest = max(map(len, sequences))
    ids, mask = np.zeros((2, len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    return ids, mask


def split_batches(sequences: Sequence[NDArray[np.int64]], size: int, *, is_sorted: bool) -> Iterator[Sequence[int]]:
    """Yield the indices of each batch, in order of arrival or of length."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index])) if is_sorted else list(range(len(sequences)))
    for start in range(0, len(order), size):
        yield order[start : start + size]


class Padded(ABC):
    """A baseline with the published tokenizer that pads each batch to its longest text."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Tokenize the corpora whose tokenizing is not measured."""
        from transformers import AutoTokenizer  # noqa: PLC0415  slow to import, and SentenceTransformers does not need it

        torch.set_num_threads(job.threads)
        self._job = job
        self._corpora = corpora
        self._tokenizer = AutoTokenizer.from_pretrained(job.model)
        self._tokens = {name: self._tokenize(corpus.texts) for name, corpus in corpora.items() if not corpus.is_tokenizing}

    def _tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        longest = PoolingConfig.read(Path(self._job.model)).max_tokens
        return [np.array(ids) for ids in self._tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]]

    def about(self) -> dict[str, Any]:
        """Run one text, and return a description."""
        self._run(self._tokenize(next(iter(self._corpora.values())).texts[:1]), is_sorted=False)
        return {"about": f"{self._job.dtype}, batches of {self._job.batch_size}"}

    def measure(self, corpus: str, first: int, num_messages: int) -> dict[str, Any]:
        """Return a `Sample` over `num_messages` texts."""
        part = self._part(corpus, first, num_messages)
        started_s = time.perf_counter()
        if self._corpora[corpus].is_tokenizing:
            sequences = self._tokenize([self._corpora[corpus].texts[index] for index in part])
        else:
            sequences = [self._tokens[corpus][index] for index in part]
        num_rows = self._run(sequences, is_sorted=self._job.is_sorted)
        seconds = time.perf_counter() - started_s
        num_tokens = sum(map(len, sequences))
        return asdict(Sample(num_messages=len(part), num_tokens=num_tokens, num_rows=num_rows, seconds=seconds))

    def _part(self, corpus: str, first: int, num_messages: int) -> list[int]:
        if self._job.is_sorted:
            return self._corpora[corpus].sorted_part(first, num_messages, self._job.batch_size)
        return self._corpora[corpus].part(first, num_messages)

    @abstractmethod
    def _run(self, sequences: Sequence[NDArray[np.int64]], *, is_sorted: bool) -> int:
        """Encode all texts to vectors in host memory, and return the number of computed rows."""


class Transformers(Padded):
    """transformers, one batch at a time."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Load the model."""
        super().__init__(job, corpora)
        self._model = PooledModel(Path(job.model), getattr(torch, job.dtype)).to(job.device)

    @torch.inference_mode()
    def _run(self, sequences: Sequence[NDArray[np.int64]], *, is_sorted: bool) -> int:
        num_rows = 0
        for indices in split_batches(sequences, self._job.batch_size, is_sorted=is_sorted):
            ids, mask = pad([sequences[index] for index in indices])
            inputs = (torch.from_numpy(array).to(self._job.device) for array in (ids, mask))
            self._model(*inputs).cpu().numpy()
            num_rows += ids.size
        return num_rows


class OpenVinoBaseline(Padded):
    """OpenVINO with its throughput hint: the same model, converted, several padded batches at a time."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Convert and compile the model."""
        openvino = import_openvino()
        super().__init__(job, corpora)
        example = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
        with torch.inference_mode(), warnings.catch_warnings():
            # OpenVINO traces the model, for which torch warns of a deprecation.
            warnings.simplefilter("ignore")
            converted = openvino.convert_model(PooledModel(Path(job.model), torch.float32), example_input=example)
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[job.dtype],
            "INFERENCE_NUM_THREADS": job.threads,
        }
        self._requests = openvino.AsyncInferQueue(openvino.Core().compile_model(converted, "CPU", properties))
        self._requests.set_callback(lambda request, _: request.get_output_tensor(0).data.copy())

    def _run(self, sequences: Sequence[NDArray[np.int64]], *, is_sorted: bool) -> int:
        num_rows = 0
        for indices in split_batches(sequences, self._job.batch_size, is_sorted=is_sorted):
            ids, mask = pad([sequences[index] for index in indices])
            self._requests.start_async({"input_ids": ids, "attention_mask": mask})
            num_rows += ids.size
        self._requests.wait_all()
        return num_rows


class SentenceTransformers:
    """`SentenceTransformer.encode`, which sorts by length and always tokenizes."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Load the model."""
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  not always installed

        torch.set_num_threads(job.threads)
        self._job = job
        self._corpora = corpora
        self._model = SentenceTransformer(job.model, device=job.device, model_kwargs={"dtype": getattr(torch, job.dtype)})
        # Tokens and rows since the last measurement began.
        self._num_tokens = self._num_rows = 0
        self._model[0].register_forward_pre_hook(self._count)

    def about(self) -> dict[str, Any]:
        """Run one text, and return a description."""
        self._encode(next(iter(self._corpora.values())).texts[:1])
        return {"about": f"{self._job.dtype}, batches of {self._job.batch_size}"}

    def measure(self, corpus: str, first: int, num_messages: int) -> dict[str, Any]:
        """Return a `Sample` over `num_messages` texts."""
        part = self._corpora[corpus].sorted_part(first, num_messages, self._job.batch_size)
        texts = [self._corpora[corpus].texts[index] for index in part]
        self._num_tokens = self._num_rows = 0
        started_s = time.perf_counter()
        self._encode(texts)
        seconds = time.perf_counter() - started_s
        return asdict(Sample(num_messages=len(texts), num_tokens=self._num_tokens, num_rows=self._num_rows, seconds=seconds))

    def _encode(self, texts: Sequence[str]) -> None:
        self._model.encode(list(texts), batch_size=self._job.batch_size, show_progress_bar=False)

    def _count(self, _module: nn.Module, inputs: tuple[dict[str, Tensor]]) -> None:
        self._num_tokens += int(inputs[0]["attention_mask"].sum())
        self._num_rows += inputs[0]["input_ids"].numel()

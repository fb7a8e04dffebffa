"""The bare matrix products of an encoder: its linear layers alone, as the upper bound of throughput."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from worker.bench.engine.measures import Sample
from worker.errors import BadModel
from worker.model.checkpoint.publication import read_config
from worker.model.packing import padded
from worker.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus


class Roofline:
    """All linear layers of a model with weights of their own over the rows of a batch; on a CPU in oneDNN's layout."""

    def __init__(self, job: Job, corpora: Mapping[str, Corpus]) -> None:
        """Build random weights; raises `BadModel` if this build of torch has no oneDNN."""
        torch.set_num_threads(job.threads)
        self._device = torch.device(job.device)
        if self._device.type == "cpu" and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch's own
            raise BadModel("this build of torch has no oneDNN")
        self._dtype = getattr(torch, job.dtype)
        config = read_config(Path(job.model) / "config.json")
        tokenizer = Tokenizer.read(Path(job.model), max_tokens=config.max_tokens)
        self._corpora = corpora
        self._lengths = {name: [len(text) for text in tokenizer.encode(corpus.texts)] for name, corpus in corpora.items()}
        self._batch_tokens = job.batching.max_batch_tokens
        hidden, wide = config.hidden_size, config.intermediate_size
        shapes = [(3 * hidden, hidden), (hidden, hidden), (wide, hidden), (hidden, wide)] * config.num_hidden_layers
        self._products = [
            (inputs, self._reorder(outputs, inputs), torch.zeros(outputs).to(self._device, self._dtype))
            for outputs, inputs in shapes
        ]
        self._inputs = {size: torch.randn(self._batch_tokens, size).to(self._device, self._dtype) for size in (hidden, wide)}

    def about(self) -> dict[str, Any]:
        """Run one batch, and return a description."""
        self._run(self._batch_tokens)
        self._wait_for_device()
        return {"about": f"{len(self._products)} products of {self._batch_tokens} rows, {str(self._dtype).removeprefix('torch.')}"}

    def measure(self, corpus: str, first: int, num_messages: int) -> dict[str, Any]:
        """Return a `Sample` of the products for the tokens of `num_messages` texts."""
        num_tokens = sum(self._lengths[corpus][index] for index in self._corpora[corpus].part(first, num_messages))
        started_s = time.perf_counter()
        for done in range(0, num_tokens, self._batch_tokens):
            self._run(min(self._batch_tokens, padded(num_tokens - done)))
        self._wait_for_device()
        seconds = time.perf_counter() - started_s
        return asdict(Sample(num_messages=num_messages, num_tokens=num_tokens, num_rows=num_tokens, seconds=seconds))

    def _reorder(self, outputs: int, inputs: int) -> Tensor:
        weight = torch.randn(outputs, inputs).to(self._device, self._dtype)
        if self._device.type != "cpu":
            return weight
        reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)  # noqa: SLF001  as torch's compiler does
        return reordered

    @torch.inference_mode()
    def _run(self, num_rows: int) -> None:
        for size, weight, bias in self._products:
            if self._device.type == "cpu":
                torch.ops.mkldnn._linear_pointwise(self._inputs[size][:num_rows], weight, bias, "none", [], "")  # noqa: SLF001
            else:
                nn.functional.linear(self._inputs[size][:num_rows], weight, bias)

    def _wait_for_device(self) -> None:
        if self._device.type != "cpu":
            torch.cuda.synchronize()

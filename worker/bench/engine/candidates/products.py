"""The bare matrix products of an encoder: its linear layers alone, as the upper bound of throughput in each arithmetic.

Each arithmetic is measured in the native kernels, whose own clocks count the products of a pass alone (with their bias and
activation), and in oneDNN where oneDNN has the arithmetic. On a GPU, PyTorch multiplies.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from worker.bench.engine.candidates.gist_engine import calibrate
from worker.bench.engine.job import Job, Sample
from worker.bench.engine.profile import load_profiled, measure_stages
from worker.errors import BadModel
from worker.model.backends.native.build import BackendUnavailable
from worker.model.checkpoint import checkpoint
from worker.model.text.packing import pack, padded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.model.backends.compiled import Compiled
    from worker.model.encoder.encoder_config import EncoderConfig

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Products:
    """The products of all linear layers; each question names one way to compute these."""

    def __init__(self, **options: Any) -> None:
        """Lay out the weights for each way. Raises `BadModel` if no way can run."""
        self._job = job = Job(**options)
        torch.set_num_threads(job.threads)
        self._corpus = job.read_corpus()
        loaded = checkpoint.load(job.model)
        self._tokens = loaded.tokenizer.encode(self._corpus.texts)
        # By arithmetic and kernels: takes the lengths of texts, and returns seconds.
        self._ways: dict[str, Callable[[Sequence[int]], float]] = {}
        if job.device == "cpu":
            self._add_native(calibrate(loaded, self._corpus.texts))
        self._add_torch(loaded.weights.config)
        if not self._ways:
            raise BadModel("neither the native kernels nor oneDNN can run here")

    def about(self) -> dict[str, Any]:
        """Run a text in each way, and return the names of the ways."""
        for measure in self._ways.values():
            measure([0])
        return {"about": "linear layers alone", "ways": list(self._ways)}

    def measure(self, first: int, num_messages: int, way: str) -> dict[str, Any]:
        """Return a `Sample` of the products for the tokens of `num_messages` texts."""
        part = self._corpus.part(first, num_messages)
        num_tokens = sum(len(self._tokens[index]) for index in part)
        return asdict(Sample(len(part), num_tokens, num_tokens, self._ways[way](part)))

    def _add_native(self, loaded: checkpoint.Checkpoint) -> None:
        try:
            backends = load_profiled(loaded, threads=self._job.threads)
        except BackendUnavailable:
            return
        readings = loaded.heads.readings(is_embedding=True, heads=())

        def build(backend: Compiled) -> Callable[[Sequence[int]], float]:
            def measure(part: Sequence[int]) -> float:
                packs = (pack([self._tokens[index].ids for index in batch]) for batch in self._split(part))
                return measure_stages(backend, packs, readings, threads=self._job.threads)[1]["products"]

            return measure

        self._ways |= {f"{name}, native kernels": build(backend) for name, backend in backends.items()}

    def _add_torch(self, config: EncoderConfig) -> None:
        hidden, wide = config.hidden_size, config.intermediate_size
        shapes = [(3 * hidden, hidden), (hidden, hidden), (wide, hidden), (hidden, wide)] * config.num_hidden_layers
        library = "PyTorch" if self._job.device == "cuda" else "oneDNN"
        if library == "oneDNN" and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch's own
            return
        most_rows = padded(max(self._job.batching["max_batch_tokens"], *map(len, self._tokens)))
        for name, dtype in _DTYPES.items():
            self._ways[f"{name}, {library}"] = self._build_torch(shapes, most_rows, dtype)
        if library == "oneDNN":
            self._ways["int8, oneDNN"] = self._build_torch(shapes, most_rows, torch.int8)

    def _build_torch(
        self, shapes: Sequence[tuple[int, int]], most_rows: int, dtype: torch.dtype
    ) -> Callable[[Sequence[int]], float]:
        products = [(inputs, _build_product(outputs, inputs, dtype, self._job.device)) for outputs, inputs in shapes]
        own = torch.uint8 if dtype is torch.int8 else dtype
        states = {size: (torch.rand(most_rows, size) * 200).to(self._job.device, own) for size in {size for size, _ in products}}

        @torch.inference_mode()
        def measure(part: Sequence[int]) -> float:
            rows = [padded(sum(len(self._tokens[index]) for index in batch)) for batch in self._split(part)]
            began_s = time.perf_counter()
            for num_rows in rows:
                for size, product in products:
                    product(states[size][:num_rows])
            if self._job.device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - began_s

        return measure

    def _split(self, part: Sequence[int]) -> list[list[int]]:
        """Return the texts of each batch, in order, within the token budget."""
        batches, total, most = [[part[0]]], len(self._tokens[part[0]]), self._job.batching["max_batch_tokens"]
        for index in part[1:]:
            total += len(self._tokens[index])
            if total > most:
                batches.append([])
                total = len(self._tokens[index])
            batches[-1].append(index)
        return batches


def _build_product(outputs: int, inputs: int, dtype: torch.dtype, device: str) -> Callable[[Tensor], Tensor]:
    """Return a linear layer with random weights: on a CPU oneDNN's, in its layout; in int8 with bytes in and fp32 out."""
    weight, bias = torch.rand(outputs, inputs) - 0.5, torch.zeros(outputs)
    if device == "cuda":
        weight, bias = weight.to(device, dtype), bias.to(device, dtype)
        return lambda rows: nn.functional.linear(rows, weight, bias)
    if dtype is torch.int8:
        reordered = torch.ops.onednn.qlinear_prepack((weight * 254).to(torch.int8), None)
        scales, zeros = torch.full((outputs,), 0.01), torch.zeros(outputs, dtype=torch.int32)
        more: tuple[Any, ...] = (reordered, scales, zeros, bias, 1.0, 0, torch.float32, "none", [], "")
        return lambda rows: torch.ops.onednn.qlinear_pointwise(rows, 0.05, 128, *more)
    reordered, own_bias = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), None), bias.to(dtype)  # noqa: SLF001  as torch's compiler
    return lambda rows: torch.ops.mkldnn._linear_pointwise(rows, reordered, own_bias, "none", [], "")  # noqa: SLF001  does

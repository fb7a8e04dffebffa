"""The baselines: transformers, OpenVINO, ONNX Runtime and SentenceTransformers, each in the faster of fp32 and bf16."""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from worker.bench.engine.job import Job, Sample
from worker.bench.frame.fastest import choose_fastest
from worker.host import trim_malloc
from worker.model.pooling.pooling import PoolingConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]
    #: Encodes padded batches, ids and mask `[n, L]`, to vectors in host memory.
    Encode = Callable[[Iterator[tuple[Ids, Ids]]], None]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_NUM_TRIAL_TEXTS = 64
_INPUTS = ("input_ids", "attention_mask")


class PooledModel(nn.Module):
    """A transformers model with its published pooling: ids and mask `[n, L]` in, vectors `[n, H]` out."""

    def __init__(self, directory: Path, dtype: torch.dtype) -> None:
        """Load the published model."""
        from transformers import AutoModel  # noqa: PLC0415  slow to import, and SentenceTransformers does not need it

        super().__init__()
        self._model = AutoModel.from_pretrained(directory, add_pooling_layer=False, dtype=dtype)
        self._is_cls = PoolingConfig.read(directory).pooling == "cls"
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode, pool and normalise."""
        states = self._model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask[..., None].to(states.dtype)
        pooled = states[:, 0] if self._is_cls else (states * weights).sum(1) / weights.sum(1)
        vectors: Tensor = nn.functional.normalize(pooled.float(), dim=-1)
        return vectors


def pad(sequences: Sequence[Ids]) -> tuple[Ids, Ids]:
    """Return ids and mask `[n, L]`, padded to the longest sequence."""
    longest = max(map(len, sequences))
    ids, mask = np.zeros((2, len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    return ids, mask


def split_batches(sequences: Sequence[Ids], size: int, *, is_sorted: bool) -> Iterator[Sequence[int]]:
    """Yield the indices of each batch, in order of arrival or of length."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index])) if is_sorted else list(range(len(sequences)))
    for start in range(0, len(order), size):
        yield order[start : start + size]


class Baseline(ABC):
    """A baseline in the number format that is faster here."""

    def __init__(self, **options: Any) -> None:
        """Load the model of a `Job` in each format."""
        self._job = Job(**options)
        torch.set_num_threads(self._job.threads)
        self._corpus = self._job.read_corpus()
        self._models = self._load()

    @abstractmethod
    def _load(self) -> dict[str, Any]:
        """Return the model in each number format."""

    @abstractmethod
    def _run(self, model: Any, indices: Sequence[int]) -> tuple[int, int]:
        """Encode texts to vectors in host memory; return the number of tokens and of computed rows."""

    def about(self) -> dict[str, Any]:
        """Run some texts in each format, keep the faster one, and return a description."""
        texts = self._corpus.part(0, min(_NUM_TRIAL_TEXTS, len(self._corpus.texts)))
        dtype = choose_fastest(self._models, lambda model: self._run(model, texts))
        self._models = {dtype: self._models[dtype]}
        # The kernel counts the peak of memory again.
        trim_malloc()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return {"about": f"{dtype}, batches of {self._job.batch_size}", "dtype": dtype}

    def measure(self, first: int, num_messages: int) -> dict[str, Any]:
        """Return a `Sample` over `num_messages` texts."""
        job, corpus, (model,) = self._job, self._corpus, self._models.values()
        part = corpus.sorted_part(first, num_messages, job.batch_size) if job.is_sorted else corpus.part(first, num_messages)
        started_s = time.perf_counter()
        num_tokens, num_rows = self._run(model, part)
        return asdict(Sample(len(part), num_tokens, num_rows, time.perf_counter() - started_s))


class Padded(Baseline, ABC):
    """A baseline with the published tokenizer that pads each batch to its longest text; its models are of the type `Encode`."""

    def __init__(self, **options: Any) -> None:
        """Load the model, and tokenize unless tokenizing is measured."""
        from transformers import AutoTokenizer  # noqa: PLC0415  slow to import, and SentenceTransformers does not need it

        super().__init__(**options)
        self._tokenizer = AutoTokenizer.from_pretrained(self._job.model)
        self._tokens = None if self._corpus.is_tokenizing else self._tokenize(self._corpus.texts)

    def _tokenize(self, texts: Sequence[str]) -> list[Ids]:
        longest = PoolingConfig.read(Path(self._job.model)).max_tokens
        return [np.array(ids) for ids in self._tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]]

    def _run(self, model: Encode, indices: Sequence[int]) -> tuple[int, int]:
        known, num_rows = self._tokens, 0
        if known is None:
            tokens = self._tokenize([self._corpus.texts[index] for index in indices])
        else:
            tokens = [known[index] for index in indices]

        def pad_batches() -> Iterator[tuple[Ids, Ids]]:
            nonlocal num_rows
            for batch in split_batches(tokens, self._job.batch_size, is_sorted=self._job.is_sorted):
                ids, mask = pad([tokens[index] for index in batch])
                num_rows += ids.size
                yield ids, mask

        model(pad_batches())
        return sum(map(len, tokens)), num_rows


class Transformers(Padded):
    """transformers, one batch at a time."""

    def _load(self) -> dict[str, Encode]:
        return {name: self._build(dtype) for name, dtype in _DTYPES.items()}

    def _build(self, dtype: torch.dtype) -> Encode:
        model = PooledModel(Path(self._job.model), dtype).to(self._job.device)

        @torch.inference_mode()
        def encode(batches: Iterator[tuple[Ids, Ids]]) -> None:
            for batch in batches:
                model(*(torch.from_numpy(array).to(self._job.device) for array in batch)).cpu().numpy()

        return encode


class OpenVino(Padded):
    """OpenVINO with its throughput hint: the same model, converted, several padded batches at a time."""

    def _load(self) -> dict[str, Encode]:
        openvino = import_openvino()
        example = dict(zip(_INPUTS, _build_example(), strict=True))
        with torch.inference_mode(), warnings.catch_warnings():
            # OpenVINO traces the model, for which torch warns of a deprecation.
            warnings.simplefilter("ignore")
            model = openvino.convert_model(PooledModel(Path(self._job.model), torch.float32), example_input=example)
        return {name: self._build(openvino, model, hint) for name, hint in (("fp32", "f32"), ("bf16", "bf16"))}

    def _build(self, openvino: Any, model: Any, hint: str) -> Encode:
        properties = {
            "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": self._job.threads
        }  # fmt: skip
        requests = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", properties))
        requests.set_callback(lambda request, _: request.get_output_tensor(0).data.copy())

        def encode(batches: Iterator[tuple[Ids, Ids]]) -> None:
            for batch in batches:
                requests.start_async(dict(zip(_INPUTS, batch, strict=True)))
            requests.wait_all()

        return encode


class OnnxRuntime(Padded):
    """ONNX Runtime: the exported graph in fp32, or with weights in 8 bits and dynamic quantization, as fastembed runs it."""

    def _load(self) -> dict[str, Encode]:
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._job.threads
        with TemporaryDirectory(prefix="gist-onnx-") as name:
            path = export_onnx(Path(self._job.model), Path(name), is_quantized=self._job.is_quantized)
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def encode(batches: Iterator[tuple[Ids, Ids]]) -> None:
            for batch in batches:
                session.run(None, dict(zip(_INPUTS, batch, strict=True)))

        return {"int8" if self._job.is_quantized else "fp32": encode}


def export_onnx(model: Path, directory: Path, *, is_quantized: bool) -> Path:
    """Write the published model with its pooling as an ONNX graph, and return the file."""
    path, axes = directory / "model.onnx", {0: "texts", 1: "tokens"}
    # The exporter asks for the package onnx and warns that another exporter is recommended, which needs a further package.
    importlib.import_module("onnx")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            PooledModel(model, torch.float32),
            _build_example(),
            str(path),
            input_names=list(_INPUTS),
            output_names=["vectors"],
            dynamic_axes={**dict.fromkeys(_INPUTS, axes), "vectors": {0: "texts"}},
            dynamo=False,
        )
    if not is_quantized:
        return path
    quantization = importlib.import_module("onnxruntime.quantization")
    quantization.quantize_dynamic(path, directory / "int8.onnx", weight_type=quantization.QuantType.QInt8, per_channel=True)
    return directory / "int8.onnx"


def _build_example() -> tuple[Tensor, Tensor]:
    """Return ids and a mask with padding: a tracer would leave out a mask without."""
    ids, mask = torch.ones(2, 2, 8, dtype=torch.int64)
    mask[1, 5:] = 0
    return ids, mask


def import_openvino() -> Any:
    """Import OpenVINO without its reports to the vendor; raises `ModuleNotFoundError` where OpenVINO is not installed.

    OpenVINO sends an event to an analytics service each time that it is imported or converts a model. With None in the place of the
    package that sends, its import fails, and OpenVINO uses a substitute that sends nothing.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's own way to forbid an import
    return importlib.import_module("openvino")


class SentenceTransformers(Baseline):
    """`SentenceTransformer.encode`, which sorts by length and always tokenizes."""

    def __init__(self, **options: Any) -> None:
        """Load the model in each format; the texts are whole batches of the sorted corpus."""
        # Tokens and rows since the last measurement began.
        self._num_tokens = self._num_rows = 0
        super().__init__(**options | {"is_sorted": True})

    def _load(self) -> dict[str, Any]:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415  not always installed

        models = {
            name: SentenceTransformer(self._job.model, device=self._job.device, model_kwargs={"dtype": dtype})
            for name, dtype in _DTYPES.items()
        }
        for model in models.values():
            model[0].register_forward_pre_hook(self._count)
        return models

    def _run(self, model: Any, indices: Sequence[int]) -> tuple[int, int]:
        self._num_tokens = self._num_rows = 0
        texts = [self._corpus.texts[index] for index in indices]
        model.encode(texts, batch_size=self._job.batch_size, show_progress_bar=False)
        return self._num_tokens, self._num_rows

    def _count(self, _module: nn.Module, inputs: tuple[dict[str, Tensor]]) -> None:
        self._num_tokens += int(inputs[0]["attention_mask"].sum())
        self._num_rows += inputs[0]["input_ids"].numel()

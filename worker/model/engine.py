"""Tokenize → forward → plain values: the model as the pipeline sees it.

Nothing that leaves this room is a tensor, and nothing that leaves it is NaN: a text whose numbers are not finite fails alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from worker.errors import BadModel
from worker.model import checkpoint
from worker.model.backends import choose
from worker.model.heads import Head, classification, entities
from worker.model.packing import pack
from worker.model.windows import Merging, sequences
from worker.records import Failure, Item, Partition, Prediction, Record, Stage, Task, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from worker.model.backends import Backend, BackendName
    from worker.model.reading import Reading
    from worker.model.windows import Windowing
    from worker.records import Classification, Entity, Tokens

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
_CPU_FLAGS_FOR_BF16 = {"amx_bf16", "avx512_bf16"}


class Engine:
    """A loaded model. `tokenize` and `infer` block; `infer` is called from one thread at a time."""

    def __init__(self, loaded: checkpoint.Checkpoint, backend: Backend, *, because: str) -> None:
        """Use a loaded model, whose encoder runs in `backend`, chosen `because`; the heads compute in fp32."""
        self.name = loaded.name
        self.max_tokens = loaded.max_tokens
        self.backend = backend
        self.because = because
        #: How far 8-bit products are from fp32, as it was measured; None for a model that is not calibrated.
        self.difference = loaded.difference
        self._tokenizer = loaded.tokenizer
        self._model = loaded.heads.to(backend.device)
        # The heads by the task that they serve.
        self._heads: dict[Task, list[Head]] = {task: [] for task in (Task.CLASSIFY, Task.NER)}
        for head in loaded.heads.heads.values():
            if isinstance(head, Head):
                self._heads[Task(head.config.task)].append(head)
        for head in self._heads[Task.NER]:
            # They read every token; the others one vector for each text, which costs nothing.
            head.compute_in(backend.dtype)
        self._classifiers = {head.config.name for head in self._heads[Task.CLASSIFY]}
        # What is read of a pass, by whether vectors are asked for and by which heads.
        self._known_readings: dict[tuple[bool, tuple[str, ...]], list[Reading]] = {}
        self.tasks = frozenset({Task.EMBED} | {task for task, heads in self._heads.items() if heads})

    @classmethod
    def load(
        cls,
        reference: str,
        *,
        device: Device = "auto",
        dtype: Dtype = "auto",
        backend: BackendName = "auto",
        threads: int = 0,
        max_tokens: int | None = None,
        windowing: Windowing | None = None,
    ) -> Engine:
        """Load and verify the model at `reference`; raises `BadModel`.

        `threads` are those of the matrix products; 0 leaves torch's choice. `max_tokens` shortens the longest text. Longer ones
        are truncated, or read in windows as `windowing` says.
        """
        if threads:
            torch.set_num_threads(threads)
        loaded = checkpoint.load(reference, max_tokens=max_tokens, windowing=windowing)
        return cls.of(loaded, device=device, dtype=dtype, backend=backend)

    @classmethod
    @torch.inference_mode()
    def of(
        cls, loaded: checkpoint.Checkpoint, *, device: Device = "auto", dtype: Dtype = "auto", backend: BackendName = "auto"
    ) -> Engine:
        """Take over a loaded model; raises `BadModel` where this machine cannot run it as asked."""
        place = _device(device)
        chosen, because = choose(loaded.encoder, backend, device=place, dtype=_dtype(dtype, place), ranges=loaded.ranges)
        return cls(loaded, chosen, because=because)

    @property
    def description(self) -> str:
        """The device, the number format, the backend and the threads, for people."""
        device, dtype = self.backend.device.type, str(self.backend.dtype).removeprefix("torch.")
        threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
        return f"{device} {dtype} {self.backend.name}{threads}"

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize, with special tokens; what is longer than `max_tokens` is truncated, or planned to be read in windows."""
        return self._tokenizer.encode(texts)

    def warm_up(self) -> None:
        """Run short and long texts through every head, so that the first record does not pay for what is done once."""
        record = Record(Partition("warm-up", 0), 0, None, b"")
        texts = ["Warm up.", "warm up " * self.max_tokens]
        items = [Item(record, "", text, self.tasks) for text in texts]
        tokenized = [TokenizedItem(item, tokens) for item, tokens in zip(items, self.tokenize(texts), strict=True)]
        for prediction in self.infer(tokenized):
            if prediction.failures:
                raise BadModel(f"{self.name}: it fails on its first text: {prediction.failures[0].message}")

    @torch.inference_mode()
    def infer(self, items: Sequence[TokenizedItem]) -> list[Prediction]:
        """Run one forward pass and return a prediction for each item, in order."""
        asked = frozenset[Task]().union(*(it.item.tasks for it in items))
        heads = [head.config.name for task, heads in self._heads.items() if task in asked for head in heads]
        texts = [it.tokens for it in items]
        packed = pack(sequences(texts))
        is_embedding = Task.EMBED in asked
        read = self.backend.read(packed, self._readings(is_embedding, tuple(heads)))
        outputs = self._model(read, is_embedding=is_embedding, heads=heads)
        vectors = None if outputs.vectors is None else outputs.vectors.cpu().numpy()
        logits = {name: it.cpu().numpy() for name, it in outputs.logits.items()}
        starts = packed.cu_seqlens
        if len(starts) - 1 > len(items):
            vectors, logits, starts = self._merged(Merging(texts, starts), vectors, logits)
        return [
            self._predict(it, None if vectors is None else vectors[n], self._own(logits, n, slice(starts[n], starts[n + 1])))
            for n, it in enumerate(items)
        ]

    def _readings(self, is_embedding: bool, heads: tuple[str, ...]) -> list[Reading]:  # noqa: FBT001  a key
        """Return what is read of a pass; worked out once, because a head on a GPU answers late."""
        key = (is_embedding, heads)
        if key not in self._known_readings:
            self._known_readings[key] = self._model.readings(is_embedding=is_embedding, heads=heads)
        return self._known_readings[key]

    def _merged(
        self, merging: Merging, vectors: NDArray[np.float32] | None, logits: dict[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32] | None, dict[str, NDArray[np.float32]], NDArray[np.int64]]:
        """Return what is said of the texts for what is said of their windows: the vectors, the logits, and where texts start."""
        is_normalized, classifiers = self._model.sentence.is_normalized, self._classifiers
        return (
            None if vectors is None else merging.vectors(vectors, is_normalized=is_normalized),
            {name: merging.mean(it) if name in classifiers else merging.tokens(it) for name, it in logits.items()},
            merging.starts,
        )

    def _own(self, logits: dict[str, NDArray[np.float32]], index: int, tokens: slice) -> dict[str, NDArray[np.float32]]:
        """Return of each head's logits those of one text."""
        return {name: it[index] if name in self._classifiers else it[tokens] for name, it in logits.items()}

    def _predict(
        self, tokenized: TokenizedItem, vector: NDArray[np.float32] | None, logits: dict[str, NDArray[np.float32]]
    ) -> Prediction:
        """Return the plain values of one text; each task that fails, fails alone."""
        tasks, failures = tokenized.item.tasks, []
        embedding: NDArray[np.float32] | None = None
        labels: dict[str, Classification] | None = None
        found: tuple[Entity, ...] | None = None
        for task in sorted(tasks):
            try:
                if task is Task.EMBED and vector is not None:
                    embedding = _finite(vector)
                elif task is Task.CLASSIFY:
                    configs = [head.config for head in self._heads[task]]
                    labels = {it.name: classification(it, _finite(logits[it.name])) for it in configs}
                elif task is Task.NER:
                    configs = [head.config for head in self._heads[task]]
                    found = tuple(entity for it in configs for entity in entities(it, _finite(logits[it.name]), tokenized))
            except Exception as error:  # noqa: BLE001  what one head does wrong on one text costs that task of that text alone
                failures.append(Failure(Stage.INFER, type(error).__name__, str(error), task))
        return Prediction(embedding, labels, found, tuple(failures))


def _finite(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(numbers).all():
        raise FloatingPointError("the model gives numbers that are not finite (NaN or infinity) for this text")
    return numbers


def _device(device: Device) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise BadModel("there is no CUDA device here: choose the device cpu or auto")
    return torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")


def _dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """Choose bf16 where the hardware multiplies it, fp32 elsewhere."""
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return torch.bfloat16 if flags & _CPU_FLAGS_FOR_BF16 else torch.float32

"""Tokenize → forward → plain values: the model as the pipeline sees it.

No tensor and no NaN leaves this module: a text whose numbers are not finite fails alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.batches import LIVE_PASS, PassContext
from worker.errors import BadModel, BadSettings, InvalidRecord
from worker.host import count_cores
from worker.model.abilities import describe_abilities
from worker.model.backends.choice import choose
from worker.model.backends.measurement import Trial
from worker.model.checkpoint import checkpoint
from worker.model.outputs.predictions import RawOutputs, predictions
from worker.model.processor.devices import choose_format, find_device
from worker.model.processor.thread_sharing import ThreadBudget
from worker.model.text import trial_texts
from worker.model.text.packing import pack
from worker.model.text.prompts import choose_prompt
from worker.model.text.windows import WindowMerger, attach_window_vectors, window_token_ids
from worker.records import Item, Partition, Record, Task, TokenizedItem

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from worker.model.backends.choice import Backend, BackendName
    from worker.model.heads.head_config import HeadConfig
    from worker.model.heads.readout import Readout
    from worker.model.processor.devices import Device, Dtype
    from worker.model.text.windows import LongTexts
    from worker.records import Prediction, Tokens

# The longest text of the warm-up, where nothing is captured.
_MOST_WARM_TOKENS = 1024
# While a pass computes, another pass prepares inputs or converts results.
_PASSES_ON_GPU = 2


class Engine:
    """A loaded model. `tokenize` and `infer` block; `infer` may be called from `max_passes` threads at a time."""

    def __init__(self, loaded: checkpoint.Checkpoint, backend: Backend, *, because: str, passes: int = 0, threads: int = 0) -> None:
        """Use a loaded model, whose encoder runs in `backend`, chosen `because`.

        `passes` is the maximum number of concurrent passes; 0 selects the number by device and threads. `threads` is the number of
        CPU threads; 0 for one for each core.
        """
        self.name = loaded.name
        self.max_tokens = loaded.max_tokens
        self.backend = backend
        self.because = because
        #: How far 8-bit products are from fp32, as it was measured; None for a model that is not calibrated.
        self.difference = loaded.difference
        #: Encoder, heads, longest text and prompt, for people.
        self.abilities = describe_abilities(loaded)
        #: What is unusual about the model and its options, a line for each.
        self.warnings = loaded.warnings
        if backend.device_type == "cuda":
            passes = passes or _PASSES_ON_GPU
        elif not backend.is_reentrant:
            passes = 1
        # The threads that the products have now are divided among passes; a GPU has one, while others prepare and finish theirs.
        self._sharing = ThreadBudget(
            threads or count_cores(), passes=passes, is_alone=not backend.is_reentrant, is_divided=not backend.has_own_threads
        )
        #: The maximum number of concurrent passes.
        self.max_passes = self._sharing.max_passes
        self._tokenizer = loaded.tokenizer
        self._model = loaded.heads
        # The heads by the task that they serve.
        self._heads: dict[Task, list[HeadConfig]] = {task: [] for task in (Task.CLASSIFY, Task.NER)}
        for head in loaded.heads.heads.values():
            self._heads[Task(head.config.task)].append(head.config)
        self._transitions = loaded.heads.collect_transitions()
        # The readouts of a pass, by whether vectors are requested, and by the requested heads.
        self._known_readings: dict[tuple[bool, tuple[str, ...]], list[Readout]] = {}
        self.tasks = frozenset({Task.EMBED} if loaded.is_embedder else ()) | frozenset(
            {task for task, heads in self._heads.items() if heads}
        )

    @classmethod
    def load(
        cls,
        reference: str,
        *,
        device: Device = "auto",
        dtype: Dtype = "auto",
        backend: BackendName = "auto",
        threads: int = 0,
        passes: int = 0,
        max_tokens: int | None = None,
        windowing: LongTexts | None = None,
        prompt: str = "",
        dimensions: int = 0,
    ) -> Engine:
        """Load and verify the model at `reference`; raises `BadModel`.

        `threads` are those of the matrix products, which `passes` at a time share; 0 for one for each core. `max_tokens`
        shortens the longest text. Longer ones are truncated, or read in windows as `windowing` says.
        `prompt` and `dimensions` are those of `checkpoint.load`.
        """
        options: dict[str, Any] = {"max_tokens": max_tokens, "windowing": windowing, "prompt": prompt, "dimensions": dimensions}
        with checkpoint.open_while_verifying(reference, **options) as loaded:
            return cls.from_checkpoint(loaded, device=device, dtype=dtype, backend=backend, passes=passes, threads=threads)

    @classmethod
    def from_checkpoint(
        cls,
        loaded: checkpoint.Checkpoint,
        *,
        device: Device = "auto",
        dtype: Dtype = "auto",
        backend: BackendName = "auto",
        passes: int = 0,
        threads: int = 0,
    ) -> Engine:
        """Take over a loaded model; raises `BadModel` where this machine cannot run it as asked."""
        place = find_device(device)
        # A static encoder has no products, whose arithmetic could be chosen.
        dtype = "float32" if dtype == "auto" and loaded.weights.config.is_static else dtype
        trial = _trial(loaded) if place == "cpu" and dtype == "auto" and backend != "eager" else None
        form = choose_format(dtype, place)
        options: dict[str, Any] = {"device": place, "dtype": form, "ranges": loaded.ranges, "trial": trial, "threads": threads}
        chosen, because = choose(loaded.weights, backend, **options)
        return cls(loaded, chosen, because=because, passes=passes, threads=threads)

    def list_heads(self, tasks: Collection[Task]) -> list[str]:
        """Return the names of the heads that serve some tasks."""
        return [head.name for task in tasks for head in self._heads.get(task, ())]

    def share_threads(self, other: Engine) -> bool:
        """Divide the threads of `other` among the passes of both engines; return whether the backends can."""
        own, others = self.backend, other.backend
        can_share = own.device_type == others.device_type and own.is_reentrant == others.is_reentrant
        can_share = can_share and own.has_own_threads == others.has_own_threads
        if can_share:
            self._sharing = other._sharing
        return can_share

    def has_tokenizer_of(self, other: Engine) -> bool:
        """Return whether `other` makes the same tokens of every text without a prompt of its own."""
        return self is other or self._tokenizer.equals(other._tokenizer)

    @property
    def description(self) -> str:
        """The device, the number format, the backend and the threads, for people."""
        device = self.backend.device_type
        threads = f", {self._sharing.num_threads} thread{'s' * (self._sharing.num_threads != 1)}" if device == "cpu" else ""
        return f"{device} {self.backend.description}{threads}"

    def tokenize(self, texts: Sequence[str], prompt: str | None = None) -> list[Tokens]:
        """Tokenize, with special tokens; what is longer than `max_tokens` is truncated, or planned to be read in windows.

        `prompt` is a published name, a literal or `none`; None for the prompt of the stream. Raises `InvalidRecord` for another.
        """
        if prompt is None:
            return self._tokenizer.encode(texts, model=self.name)
        try:
            text = choose_prompt(self.name, prompt, self._model.sentence)
            tokenizer = self._tokenizer.with_prompt(text)
        except (BadModel, BadSettings) as error:
            raise InvalidRecord(str(error).removeprefix("GIST_PROMPT: ")) from None
        return [replace(tokens, prompt=text) for tokens in tokenizer.encode(texts, model=self.name)]

    def warm_up(self) -> None:
        """Run short and long texts through every head, so that the first record does not wait for one-time work."""
        record = Record(Partition("warm-up", 0), 0, None, b"")
        # Attention over thousands of tokens takes seconds on a CPU, and has no one-time work of its own.
        longest = self.max_tokens if self.backend.warm_lengths else min(self.max_tokens, _MOST_WARM_TOKENS)
        texts = ["Warm up.", "warm up " * longest]
        items = [Item(record, "", text, self.tasks) for text in texts]
        tokenized = [TokenizedItem(item, tokens) for item, tokens in zip(items, self.tokenize(texts), strict=True)]
        for prediction in self.infer(tokenized):
            if prediction.failures:
                raise BadModel(f"{self.name}: the model fails on the warm-up text: {prediction.failures[0].message}")
        # CUDA graphs are captured now, and not while a record waits.
        for lengths in self.backend.warm_lengths:
            self.infer([TokenizedItem(items[1], tokenized[1].tokens.truncate(length)) for length in lengths])

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass and return a prediction for each item, in order.

        A background pass may run at the same time as `max_passes` live ones, and yields to them.
        """
        asked = frozenset[Task]().union(*(item.item.tasks for item in items))
        heads = [config.name for task, configs in self._heads.items() if task in asked for config in configs]
        texts = [item.tokens for item in items]
        packed = pack(window_token_ids(texts))
        is_embedding = Task.EMBED in asked
        readings = self._readings(is_embedding, tuple(heads))
        with self._sharing.taken(gives_way=context.is_background):
            # A pass that has the device to itself does not pause: live passes would wait for the pass anyway.
            results = self.backend.begin(packed, readings, context if self.backend.is_reentrant else LIVE_PASS)
        outputs = self._model.collect(results.wait(), is_embedding=is_embedding, heads=heads)
        numbers = RawOutputs(outputs.vectors, outputs.logits, packed.cu_seqlens)
        if is_windowed := len(packed.cu_seqlens) - 1 > len(items):
            numbers = self._merged(WindowMerger(texts, packed.cu_seqlens), numbers)
        found = predictions(items, numbers, self._heads, self._transitions)
        return attach_window_vectors(texts, found, outputs.vectors) if is_windowed else found

    def _readings(self, is_embedding: bool, heads: tuple[str, ...]) -> list[Readout]:  # noqa: FBT001  a key
        """Return the readouts of a pass, cached because reading a head's weights from a GPU is slow."""
        key = (is_embedding, heads)
        if key not in self._known_readings:
            self._known_readings[key] = self._model.readings(is_embedding=is_embedding, heads=heads)
        return self._known_readings[key]

    def _merged(self, merging: WindowMerger, windows: RawOutputs) -> RawOutputs:
        """Merge the outputs of windows into the outputs of texts."""
        is_normalized = self._model.sentence.is_normalized
        of_texts = {head.name for head in self._heads[Task.CLASSIFY] if not head.reads_tokens}
        return RawOutputs(
            None if windows.vectors is None else merging.vectors(windows.vectors, is_normalized=is_normalized),
            {name: merging.mean(logits) if name in of_texts else merging.tokens(logits) for name, logits in windows.logits.items()},
            merging.starts,
        )


def _trial(loaded: checkpoint.Checkpoint) -> Trial:
    """Return the texts on which an arithmetic is compared with fp32, and everything that is read of them."""
    tokens = loaded.tokenizer.encode(trial_texts.TEXTS)
    readings = loaded.heads.readings(is_embedding=True, heads=tuple(loaded.heads.heads))
    return Trial(loaded.name, pack(window_token_ids(tokens)), readings, loaded.confirm)

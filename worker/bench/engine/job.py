"""The job of a candidate's process: plain values that travel as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.bench.engine.workload import Corpus


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a candidate: some texts and their time."""

    num_messages: int
    #: Tokens of the texts, special tokens included.
    num_tokens: int
    #: Rows of the matrices: tokens and padding.
    num_rows: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One candidate with its model and corpus."""

    #: A reference for GIST Stream, the published directory for baselines.
    model: str
    #: A file of `workload.Corpus`.
    corpus: str
    threads: int
    #: `cpu` or `cuda`.
    device: str = "cpu"
    #: The batching of the worker, by the names of its settings.
    batching: dict[str, int] = field(default_factory=dict)
    #: The settings of GIST Stream.
    dtype: Any = "auto"
    backend: Any = "auto"
    max_tokens: int | None = None
    #: Whether GIST Stream runs all tasks of the model; otherwise it only embeds.
    is_whole: bool = False
    #: Texts per batch, for baselines.
    batch_size: int = 32
    #: Whether batches hold texts of similar length, for baselines.
    is_sorted: bool = False
    #: Whether the weights of a baseline are quantized to 8 bits.
    is_quantized: bool = False

    def read_corpus(self) -> Corpus:
        """Return the texts."""
        return Corpus.read(Path(self.corpus))

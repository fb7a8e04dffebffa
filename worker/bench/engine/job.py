"""What a contestant's process is told at its start. Plain values: it travels as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Batching:
    """How the worker batches, in the words of its settings."""

    max_batch_tokens: int
    max_batch_records: int
    resume_in_flight_tokens: int
    max_poll_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One contestant: what it is, and on what it works."""

    #: Who runs: a name in `contestant.ROLES`.
    role: str
    #: The model: a reference for ours, a directory for the others.
    model: str
    #: The encoder's published directory or its reference, where `model` is a checkpoint of ours; the judge compares with it.
    encoder: str = ""
    #: The corpora by name, each a file of `workload.Corpus`.
    corpora: dict[str, str]
    threads: int
    #: `cpu`, or `cuda`.
    device: str = "cpu"
    batching: Batching
    #: The way to run, for ours.
    way: str = "auto"
    #: `float32` or `bfloat16`, for the others.
    dtype: str = "float32"
    #: The messages of a batch, for the others.
    batch_size: int = 32
    #: Whether texts of similar length share a batch, for transformers.
    is_sorted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it in plain values."""
        return asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Job:
        """Read what `as_json` gave."""
        return cls(**plain | {"batching": Batching(**plain["batching"])})

"""The job of a candidate's process, as plain values that travel as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Batching:
    """The batching of the worker, by the names of its settings."""

    max_batch_tokens: int
    max_batch_records: int
    resume_in_flight_tokens: int
    max_poll_records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One candidate with its model and corpora."""

    #: A key of `serve.ROLES`.
    role: str
    #: A reference for GIST Stream, the published directory for baselines.
    model: str
    #: The published directory or reference of the encoder in a checkpoint `model`; the reference of the comparison.
    encoder: str = ""
    #: Files of `workload.Corpus` by name.
    corpora: dict[str, str]
    threads: int
    #: `cpu` or `cuda`.
    device: str = "cpu"
    batching: Batching
    #: The backend of GIST Stream.
    backend: str = "auto"
    #: `float32` or `bfloat16`, for baselines.
    dtype: str = "float32"
    #: Texts per batch, for baselines.
    batch_size: int = 32
    #: Whether batches hold texts of similar length, for baselines.
    is_sorted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Job:
        """Return the job that `as_json` wrote."""
        return cls(**plain | {"batching": Batching(**plain["batching"])})

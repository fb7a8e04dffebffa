"""The state of a run after each epoch: an interrupted run loses at most one epoch.

One file, written atomically, has the parameters, the best parameters of the phase, the moments of the optimizer, and the position.
It has no random state: the order of an epoch and dropout depend only on seed, phase and epoch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch

from worker.errors import BadSettings
from worker.model.checkpoint.atomic_files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = "unfinished.pt"


@dataclass(slots=True, kw_only=True)
class Position:
    """The position of a run."""

    phase: int = 0
    #: Finished epochs of the phase.
    epoch: int = 0
    #: Finished steps of the phase.
    step: int = 0
    #: Finished steps of all phases.
    total_steps: int = 0
    #: The best score on dev in this phase, and its loss; the initial values are worse than any.
    best: float = -1.0
    best_loss: float = math.inf
    #: Epochs since the best score.
    num_worse: int = 0
    #: Seconds of training, without lost epochs.
    seconds: float = 0.0
    #: The scores of each epoch.
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_phase(self) -> None:
        """Move to the next phase."""
        self.phase, self.epoch, self.step, self.best, self.best_loss, self.num_worse = self.phase + 1, 0, 0, -1.0, math.inf, 0


@dataclass(frozen=True, slots=True)
class TrainingState:
    """A snapshot."""

    position: Position
    #: State dictionaries: `learner`, `best`, `average`, `optimizer`.
    tensors: Mapping[str, Any]


class Snapshots:
    """The one snapshot of a run, in the directory of its checkpoint."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        """Use a directory; `fingerprint` identifies the configuration, the encoder and the data."""
        self._path = directory / _NAME
        self._fingerprint = fingerprint

    def read(self) -> TrainingState | None:
        """Return the snapshot, or None; raises `BadSettings` for a damaged snapshot, and for the snapshot of another run."""
        if not self._path.exists():
            return None
        try:
            content = torch.load(self._path, weights_only=True)
            position = Position(**content["position"])
        except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError, TypeError) as error:
            reason = str(error).partition("\n")[0]
            raise BadSettings(f"{self._path}: not the state of a run ({reason}); --fresh starts again") from error
        if content.get("fingerprint") != self._fingerprint:
            raise BadSettings(f"{self._path}: the unfinished run there had other settings or data; --fresh starts again")
        return TrainingState(position, content["tensors"])

    def write(self, position: Position, tensors: Mapping[str, Any]) -> None:
        """Replace the snapshot; raises `BadSettings` if the disk is full."""
        content = BytesIO()
        torch.save({"fingerprint": self._fingerprint, "position": asdict(position), "tensors": dict(tensors)}, content)
        with atomic_write(self._path) as part:
            part.write_bytes(content.getbuffer())

    def remove(self) -> None:
        """Remove the snapshot."""
        self._path.unlink(missing_ok=True)

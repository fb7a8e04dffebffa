"""The state of a run after each epoch: an interrupted run loses at most one epoch.

One file, written atomically, has the parameters, the best parameters of the phase, the moments of the optimizer, and the position.
It has no random state: the order of an epoch and dropout depend only on seed, phase and epoch.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from worker.errors import BadSettings
from worker.model.checkpoint.atomic_files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import Tensor

_NAME = "unfinished.safetensors"
# Above any loss, and valid in JSON.
_WORST = 1e30


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
    best_loss: float = _WORST
    #: Epochs since the best score.
    num_worse: int = 0
    #: Seconds of training, without lost epochs.
    seconds: float = 0.0
    #: The scores of each epoch.
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_phase(self) -> None:
        """Move to the next phase."""
        self.phase, self.epoch, self.step, self.best, self.best_loss, self.num_worse = self.phase + 1, 0, 0, -1.0, _WORST, 0


@dataclass(frozen=True, slots=True)
class State:
    """A snapshot."""

    position: Position
    #: By group (`learner`, `best`, `average`, `optimizer`) and name.
    tensors: Mapping[str, dict[str, Tensor]]


class Snapshots:
    """The one snapshot of a run, in the directory of its checkpoint."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        """Use a directory; `fingerprint` identifies the configuration, the encoder and the data."""
        self._path = directory / _NAME
        self._fingerprint = fingerprint

    def read(self) -> State | None:
        """Return the snapshot, or None; raises `BadSettings` for a damaged snapshot, and for the snapshot of another run."""
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                written = file.metadata() or {}
            position = Position(**json.loads(written["position"]))
            flat = load_file(self._path)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadSettings(f"{self._path}: not the state of a run ({error}); --fresh starts again") from error
        if written.get("fingerprint") != self._fingerprint:
            raise BadSettings(f"{self._path}: the unfinished run there had other settings or data; --fresh starts again")
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, value in flat.items():
            group, _, rest = name.partition("/")
            tensors.setdefault(group, {})[rest] = value
        return State(position, tensors)

    def write(self, position: Position, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Replace the snapshot; raises `BadSettings` if the disk is full."""
        flat = {
            f"{group}/{name}": value.detach().clone()
            for group, own_tensors in tensors.items()
            for name, value in own_tensors.items()
        }
        metadata = {"fingerprint": self._fingerprint, "position": json.dumps(asdict(position))}
        with atomic_write(self._path) as part:
            save_file(flat, part, metadata)

    def remove(self) -> None:
        """Remove the snapshot."""
        self._path.unlink(missing_ok=True)


def read_moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the moments of an optimizer by parameter number and name."""
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{number}/{name}": value for number, tensors in state.items() for name, value in tensors.items()}


def restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Load the result of `read_moments` into an optimizer."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, moment in moments.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = moment
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

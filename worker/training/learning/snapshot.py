"""The state of a run after each finished epoch, so that a process that was killed loses no more than the epoch it was in.

One file, written whole or not at all: what the phases learned so far, the best of this phase, the optimiser's moments, and where
the run stands. Nothing random is in it: the order of an epoch and what dropout hides depend on seed, phase and epoch alone.
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
# Above any loss, and a number that JSON knows.
_WORST = 1e30


@dataclass(slots=True, kw_only=True)
class Position:
    """Where a run stands."""

    phase: int = 0
    #: Finished epochs of the phase.
    epoch: int = 0
    #: Finished steps of the phase.
    step: int = 0
    #: Finished steps of all phases.
    total_steps: int = 0
    #: The best score on dev in this phase, and its loss; worse than any before the first.
    best: float = -1.0
    best_loss: float = _WORST
    #: Epochs since then.
    num_worse: int = 0
    #: Seconds of training up to here, whatever was lost not counted.
    seconds: float = 0.0
    #: What each finished epoch came to.
    history: list[dict[str, Any]] = field(default_factory=list)

    def next_phase(self) -> None:
        """Go on to the next phase."""
        self.phase, self.epoch, self.step, self.best, self.best_loss, self.num_worse = self.phase + 1, 0, 0, -1.0, _WORST, 0


@dataclass(frozen=True, slots=True)
class State:
    """What was written."""

    position: Position
    #: By group (`learner`, `best`, `average`, `optimizer`) and name.
    tensors: Mapping[str, dict[str, Tensor]]


class Snapshots:
    """The one snapshot of a run, in the directory of its checkpoint."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        """Keep it in a directory; `fingerprint` stands for all that the run depends on."""
        self._path = directory / _NAME
        self._fingerprint = fingerprint

    def read(self) -> State | None:
        """Return the last one, None where there is none; raises `BadSettings` where it is another run's, or damaged."""
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                written = file.metadata() or {}
            position = Position(**json.loads(written["position"]))
            flat = load_file(self._path)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise BadSettings(f"{self._path}: not the state of a run ({error}); --fresh begins anew") from error
        if written.get("fingerprint") != self._fingerprint:
            raise BadSettings(f"{self._path}: the unfinished run there had other settings or data; --fresh begins anew")
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, value in flat.items():
            group, _, rest = name.partition("/")
            tensors.setdefault(group, {})[rest] = value
        return State(position, tensors)

    def write(self, position: Position, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Replace the last one; raises `BadSettings` where the disk is full."""
        flat = {
            f"{group}/{name}": value.detach().clone()
            for group, own_tensors in tensors.items()
            for name, value in own_tensors.items()
        }
        metadata = {"fingerprint": self._fingerprint, "position": json.dumps(asdict(position))}
        with atomic_write(self._path) as part:
            save_file(flat, part, metadata)

    def remove(self) -> None:
        """Remove it: the run is over, or shall begin anew."""
        self._path.unlink(missing_ok=True)


def read_moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimiser remembers, by the number of the parameter and the name of what it is."""
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{number}/{name}": value for number, tensors in state.items() for name, value in tensors.items()}


def restore_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Make an optimiser remember what it did when `read_moments` was called."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, moment in moments.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = moment
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

"""Run the phases of a strategy in order, continuing an interrupted run."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from worker.model.multitask import MultiTaskHeads
from worker.model.number_format import number_format
from worker.training.learning.learner import Learner
from worker.training.learning.phase_loop import PhaseLoop
from worker.training.learning.snapshot import Position
from worker.training.learning.states import Frozen, Live
from worker.training.learning.strategies import build_phases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.encoder import Encoder
    from worker.training.config import TrainingRun
    from worker.training.learning.snapshot import Snapshots
    from worker.training.learning.state_cache import StateCache
    from worker.training.learning.states import States
    from worker.training.learning.strategies import Phase
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The result of training."""

    learner: Learner
    #: The states that the heads read.
    states: States
    position: Position
    is_encoder_tuned: bool


def learn(
    run: TrainingRun,
    loaded: Checkpoint,
    tasks: Sequence[TrainingTask],
    *,
    store: StateCache,
    reporter: Reporter,
    snapshots: Snapshots | None = None,
) -> Learned:
    """Run all phases of a strategy; the encoder of `loaded` changes if the strategy tunes the encoder.

    The same run, texts and threads give the same weights on the CPU, also after an interruption. Raises `BadModel` if the heads do
    not fit the encoder.
    """
    learner = _learner(run, loaded, tasks)
    every = build_phases(run)
    is_tuned = not all(one.is_encoder_frozen for one in every)
    kept = [name for name in learner.state_dict() if is_tuned or not name.startswith("encoder.")]
    before = copy.deepcopy(learner.encoder) if is_tuned and run.training.retention_weight else None
    state = snapshots.read() if snapshots else None
    position = state.position if state else Position()
    if state:
        reporter.say(f"going on after epoch {position.epoch} of phase {position.phase + 1} of {len(every)}")
        learner.load_state_dict(state.tensors["learner"], strict=False)
    source = _StateSource(run, loaded, learner, store, reporter, before=before)
    for phase in every[position.phase :]:
        learner.start_phase(run, phase)
        unfinished = state if position.epoch else None
        if unfinished:
            learner.load_state_dict(unfinished.tensors["learner"], strict=False)
        own = [task for task in tasks if task.head.name in phase.heads]
        steps = -(-run.training.max_steps // len(every))
        loop = PhaseLoop(run, phase, learner, own, source.select(phase), max_steps=steps, reporter=reporter)
        if unfinished:
            loop.restore(unfinished)
        loop.run(position, snapshots, kept)
        position.next_phase()
    learner.requires_grad_(requires_grad=False)
    return Learned(learner=learner, states=source.last, position=position, is_encoder_tuned=is_tuned)


def _learner(run: TrainingRun, loaded: Checkpoint, tasks: Sequence[TrainingTask]) -> Learner:
    torch.manual_seed(run.seed)
    learner = Learner(loaded.encoder, tasks)
    # Heads that read missing layers are refused before training, not when they are served.
    MultiTaskHeads(loaded.encoder.config, loaded.heads.sentence, [learner.head(task.head.name) for task in tasks])
    return learner


class _StateSource:
    """The states that heads read in each phase."""

    def __init__(
        self,
        run: TrainingRun,
        loaded: Checkpoint,
        learner: Learner,
        store: StateCache,
        reporter: Reporter,
        *,
        before: Encoder | None,
    ) -> None:
        dtype = number_format(run.training.dtype, torch.device("cpu"))
        self._learner, self._pooling, self._store, self._reporter = learner, loaded.heads.sentence.pooling, store, reporter
        self._live = Live(
            *(learner.encoder, self._pooling),
            dtype=dtype,
            lower=self._below(run.training.upper_layers),
            before=None if before is None else Frozen(before, self._pooling, store, reporter),
        )
        # The states of the current encoder; None before their first use, and after tuning.
        self._frozen: Frozen | None = None
        #: The states of the last phase.
        self.last: States = self._live

    def _below(self, upper_layers: int | None) -> Frozen | None:
        """Return the states of the layers below the tuned layers."""
        encoder = self._learner.encoder
        num_layers = encoder.config.num_hidden_layers
        if upper_layers is None or upper_layers >= num_layers:
            return None
        return Frozen(encoder, self._pooling, self._store, self._reporter, num_layers=num_layers - upper_layers)

    def select(self, phase: Phase) -> States:
        if not phase.is_encoder_frozen:
            self._frozen, self.last = None, self._live
        else:
            self._frozen = self._frozen or Frozen(self._learner.encoder, self._pooling, self._store, self._reporter)
            self.last = self._frozen
        return self.last

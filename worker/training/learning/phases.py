"""Run the phases of a strategy in order, continuing an interrupted run."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from worker.errors import BadSettings
from worker.model.encoder.number_format import number_format
from worker.model.heads.multitask import MultiTaskHeads
from worker.training.learning.learner import Learner
from worker.training.learning.phase_loop import PhaseLoop
from worker.training.learning.snapshot import Position
from worker.training.learning.states import Frozen, Live
from worker.training.learning.strategies import build_phases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.encoder.encoder import Encoder
    from worker.model.pooling.pooling import Pooling
    from worker.training.config import TrainingRun
    from worker.training.learning.snapshot import Snapshots
    from worker.training.learning.state_cache import StateCache
    from worker.training.learning.states import States
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
    """Run all phases of a strategy, which may tune the encoder of `loaded`.

    Raises `BadModel` if the heads do not fit the encoder, and `BadSettings` for a strategy that the encoder does not have.
    The same run, texts and threads give the same weights on the CPU, also after an interruption.
    """
    every = build_phases(run)
    is_tuned = not all(phase.is_encoder_frozen for phase in every)
    learner, pooling = _build_learner(run, loaded, tasks, is_tuned=is_tuned), loaded.heads.sentence.pooling
    kept = [name for name in learner.state_dict() if is_tuned or not name.startswith("encoder.")]
    before = copy.deepcopy(learner.encoder) if is_tuned and run.training.retention_weight else None
    state = snapshots.read() if snapshots else None
    position = state.position if state else Position()
    if state:
        reporter.say(f"going on after epoch {position.epoch} of phase {position.phase + 1} of {len(every)}")
        learner.load_state_dict(state.tensors["learner"], strict=False)
    freeze = partial(Frozen, pooling=pooling, store=store, reporter=reporter)
    states: States = (live := _build_live(run, learner.encoder, pooling, freeze, before))
    max_steps = -(-run.training.max_steps // len(every))
    for phase in every[position.phase :]:
        learner.start_phase(run, phase)
        # The cache of a frozen encoder is new after a phase that tuned the encoder.
        if states is live or not phase.is_encoder_frozen:
            states = freeze(learner.encoder) if phase.is_encoder_frozen else live
        loop = PhaseLoop(run, phase, learner, tasks, states, max_steps=max_steps, reporter=reporter)
        if state and position.epoch:
            learner.load_state_dict(state.tensors["learner"], strict=False)
            loop.restore(state)
        loop.run(position, snapshots, kept)
        position.next_phase()
    learner.requires_grad_(requires_grad=False)
    return Learned(learner=learner, states=states, position=position, is_encoder_tuned=is_tuned)


def _build_learner(run: TrainingRun, loaded: Checkpoint, tasks: Sequence[TrainingTask], *, is_tuned: bool) -> Learner:
    if is_tuned and loaded.encoder.config.is_static:
        raise BadSettings(f"{run.encoder}: a static encoder (Model2Vec) cannot be tuned: set the strategy frozen")
    torch.manual_seed(run.seed)
    learner = Learner(loaded.encoder, tasks)
    # Heads that read missing layers are refused before training, not when they are served.
    MultiTaskHeads(loaded.encoder.config, loaded.heads.sentence, [learner.head(task.head.name) for task in tasks])
    return learner


def _build_live(
    run: TrainingRun, encoder: Encoder, pooling: Pooling, freeze: Callable[..., Frozen], before: Encoder | None
) -> Live:
    """Return the states of the tuned encoder, with cached states of the layers below the tuned layers."""
    dtype, num_frozen = number_format(run.training.dtype, torch.device("cpu")), 0
    if run.training.upper_layers is not None:
        num_frozen = max(0, encoder.config.num_hidden_layers - run.training.upper_layers)
    lower = freeze(encoder, num_layers=num_frozen) if num_frozen else None
    return Live(encoder, pooling, dtype=dtype, lower=lower, before=freeze(before) if before else None)

"""The training loop of a phase: batches, optimizer steps, a score on dev after each epoch, and a snapshot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from worker.training.data.splits import Side
from worker.training.learning import sampling
from worker.training.learning.objectives import compute_loss, compute_mean_loss, run_head, score
from worker.training.learning.sampling import compute_rate_factor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from worker.training.config import TrainingRun
    from worker.training.learning.learner import Learner
    from worker.training.learning.snapshot import Position, Snapshots, TrainingState
    from worker.training.learning.states import States
    from worker.training.learning.strategies import Phase
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter

_BATCH_OF_FROZEN, _BATCH_OF_LIVE = 128, 32


class PhaseLoop:
    """One phase of a run, from its first epoch to early stopping."""

    def __init__(
        self,
        run: TrainingRun,
        phase: Phase,
        learner: Learner,
        tasks: Sequence[TrainingTask],
        states: States,
        *,
        max_steps: int,
        reporter: Reporter,
    ) -> None:
        """Build the optimizer; `tasks` are all tasks of the run, and `max_steps` 0 means all steps of the epochs."""
        self._run, self._phase, self._learner, self._states = run, phase, learner, states
        self._tasks = tasks = [task for task in tasks if task.head.name in phase.heads]
        self._reporter = reporter
        training = run.training
        self._batch_texts = training.batch_texts or (_BATCH_OF_FROZEN if phase.is_encoder_frozen else _BATCH_OF_LIVE)
        sizes = [len(task.sides[Side.TRAIN]) for task in tasks]
        accumulated = run.optimizer.accumulated_batches
        # The number of batches of an epoch.
        self._num_batches = training.epoch_steps * accumulated or sampling.count_batches(sizes, self._batch_texts)
        steps = -(-self._num_batches // accumulated)
        self._num_steps = min(training.epochs * steps, max_steps or training.epochs * steps)
        self._optimizer = torch.optim.AdamW(learner.build_parameter_groups(run, phase))
        self._base_rates = [group["lr"] for group in self._optimizer.param_groups]
        # Trained parameters by name; shared parameters have their first name.
        self._learning = {name: parameter for name, parameter in learner.named_parameters() if parameter.requires_grad}
        # Running averages of the parameters, if enabled.
        self._averages = (
            {name: parameter.detach().clone() for name, parameter in self._learning.items()} if run.optimizer.averaging else {}
        )
        # The parameters of the best epoch.
        self._best: dict[str, Tensor] = {}
        self._weights = _weights(run, tasks)

    def restore(self, state: TrainingState) -> None:
        """Continue from a snapshot of this phase."""
        self._optimizer.load_state_dict(state.tensors["optimizer"])
        self._averages |= state.tensors["average"]
        self._best = state.tensors["best"]

    def run(self, position: Position, snapshots: Snapshots | None, kept: Sequence[str]) -> None:
        """Train until dev no longer improves, and load the best epoch; `kept` are the parameters that a snapshot saves."""
        training = self._run.training
        while position.epoch < training.epochs and position.num_worse < training.patience and position.step < self._num_steps:
            began, encoding = time.perf_counter(), self._states.seconds_encoding
            loss = self._epoch(position)
            position.seconds += time.perf_counter() - began - (self._states.seconds_encoding - encoding)
            self._judge(position, loss)
            if snapshots is not None:
                state = self._learner.state_dict()
                snapshots.write(
                    position,
                    {
                        "learner": {name: state[name] for name in kept},
                        "best": self._best,
                        "average": self._averages,
                        "optimizer": self._optimizer.state_dict(),
                    },
                )
        self._learner.load_state_dict(self._best, strict=False)

    def _epoch(self, position: Position) -> float:
        """Run an epoch, or the remaining steps; return the mean loss."""
        seed = [self._run.seed, position.phase, position.epoch]
        generator = np.random.default_rng(seed)
        torch.manual_seed(int(generator.integers(1 << 62)))
        sides = [task.sides[Side.TRAIN] for task in self._tasks]
        exponent = sampling.compute_exponent(self._run.training)
        batches = sampling.draw_batches(
            sides, self._num_batches, batch_texts=self._batch_texts, exponent=exponent, generator=generator
        )
        accumulated = self._run.optimizer.accumulated_batches
        batches = batches[: (self._num_steps - position.step) * accumulated]
        losses = []
        self._learner.train()
        with self._reporter.track(f"{', '.join(self._phase.heads)}: epoch {position.epoch + 1}", len(batches)) as advance:
            for number, (task, texts) in enumerate(batches, start=1):
                weighted, plain = self._loss(self._tasks[task], texts)
                (weighted / accumulated).backward()  # type: ignore[no-untyped-call]
                losses.append(plain)
                if number % accumulated == 0 or number == len(batches):
                    self._step(position)
                advance(1)
        position.epoch += 1
        return float(np.mean(losses))

    def _loss(self, task: TrainingTask, texts: np.typing.NDArray[np.int64]) -> tuple[Tensor, float]:
        """Return the weighted loss of a batch, and its loss without weights."""
        name = task.head.name
        rows, drift = self._states.with_drift(task, texts)
        plain = compute_loss(self._learner.head(name), rows, task, texts)
        weighted = plain * self._weights[name]
        if self._run.training.loss_weights == "uncertainty":
            # Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses" (2018).
            variance = self._learner.variances[name]
            weighted = weighted * torch.exp(-variance) + variance / 2
        weighted = weighted + drift * self._run.training.retention_weight
        return weighted, float(plain.detach())

    def _step(self, position: Position) -> None:
        optimizer = self._run.optimizer
        torch.nn.utils.clip_grad_norm_(self._learning.values(), optimizer.max_gradient_norm)
        factor = compute_rate_factor(
            position.step, num_steps=self._num_steps, warm_up=optimizer.warmup_share, is_linear=optimizer.is_linear
        )
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.step()
        self._optimizer.zero_grad()
        position.step, position.total_steps = position.step + 1, position.total_steps + 1
        kept = min(optimizer.averaging, position.step / (position.step + 9))
        for name, average in self._averages.items():
            average.lerp_(self._learning[name].detach(), 1 - kept)

    def _judge(self, position: Position, loss: float) -> None:
        """Score the heads on dev, and keep the parameters if they are better than before."""
        own = {name: parameter.detach().clone() for name, parameter in self._learning.items()} if self._averages else {}
        self._learner.load_state_dict(self._averages, strict=False)
        said = [run_head(self._learner.head(task.head.name), self._states, task, task.sides[Side.DEV]) for task in self._tasks]
        heads = [self._learner.head(task.head.name) for task in self._tasks]
        scores = {head.config.name: score(head, predictions) for head, predictions in zip(heads, said, strict=True)}
        mean, dev_loss = (
            float(np.mean(list(scores.values()))),
            float(np.mean([compute_mean_loss(*pair) for pair in zip(heads, said, strict=True)])),
        )
        # With few texts, scores are often equal: the smaller loss decides.
        is_better = (mean, -dev_loss) > (position.best, -position.best_loss)
        position.num_worse = 0 if is_better else position.num_worse + 1
        if is_better:
            position.best, position.best_loss = mean, dev_loss
            self._best = {name: parameter.detach().clone() for name, parameter in self._learning.items()}
        self._learner.load_state_dict(own, strict=False)
        shown = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
        self._reporter.say(f"epoch {position.epoch}: loss {loss:.4f}; on dev: {shown}")
        position.history.append({"phase": position.phase, "epoch": position.epoch, "loss": loss, "dev": scores})


def _weights(run: TrainingRun, tasks: Sequence[TrainingTask]) -> Mapping[str, float]:
    """Return the weight of each task's loss; weights by inverse size have the mean 1."""
    fixed = {task.head.name: task.options.loss_weight for task in tasks}
    if run.training.loss_weights != "inverse-size":
        return fixed
    inverse = {task.head.name: 1 / len(task.sides[Side.TRAIN]) for task in tasks}
    mean = sum(inverse.values()) / len(inverse)
    return {name: weight * inverse[name] / mean for name, weight in fixed.items()}

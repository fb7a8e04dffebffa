"""The trained module: an encoder, its heads and the weights of their losses, with a learning rate for each parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.heads.heads import Head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.model.encoder.encoder import Encoder
    from worker.training.config import TrainingRun
    from worker.training.learning.strategies import Phase
    from worker.training.learning.tasks import TrainingTask


class Learner(nn.Module):
    """An encoder, and heads with random weights."""

    def __init__(self, encoder: Encoder, tasks: Sequence[TrainingTask]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({task.head.name: Head(task.head, encoder.config.hidden_size) for task in tasks})
        #: The logarithm of the variance of each task's loss, for uncertainty weights.
        self.variances = nn.ParameterDict({task.head.name: nn.Parameter(torch.zeros(())) for task in tasks})

    def head(self, name: str) -> Head:
        """Return a head."""
        head = self.heads[name]
        assert isinstance(head, Head)  # noqa: S101  there are no others
        return head

    def start_phase(self, run: TrainingRun, phase: Phase) -> None:
        """Enable the gradients of a phase, initialise heads from other heads, and share the trunk.

        Raises `BadModel` for a missing checkpoint, and `BadSettings` if the checkpoint has no such head.
        """
        self.requires_grad_(requires_grad=False)
        if not phase.is_encoder_frozen:
            for part in self._get_tuned_layers(run.training.upper_layers):
                part.requires_grad_()
        for name in phase.heads:
            self.head(name).requires_grad_()
            self.variances[name].requires_grad_(run.training.loss_weights == "uncertainty" and len(phase.heads) > 1)
            if name in phase.initial:
                _initialise_head(self.head(name), self._find_source(phase.initial[name]), phase.initial[name])
        if phase.shares_trunk:
            first = self.head(phase.heads[0])
            for name in phase.heads[1:]:
                head = self.head(name)
                head.norm, head.hidden, head.deeper = first.norm, first.hidden, first.deeper

    def _get_tuned_layers(self, upper_layers: int | None) -> list[nn.Module]:
        if upper_layers is None:
            return [self.encoder]
        return list(self.encoder.layers)[-upper_layers:]

    def _find_source(self, reference: str) -> Head:
        place, _, name = reference.rpartition(":")
        if not place:
            return self.head(name)
        heads = checkpoint.load(place).modules
        if name not in heads:
            raise BadSettings(f"{place}: no head {name!r} to start from; it has {', '.join(heads) or 'none'}")
        return heads[name]

    def build_parameter_groups(self, run: TrainingRun, phase: Phase) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer with rate and weight decay; vectors have no weight decay."""
        named = {head.name: head for head in run.heads}
        optimizer = run.optimizer
        groups: dict[tuple[float, float], list[Tensor]] = {}

        def add(parameters: Iterator[Tensor], rate: float, decay: float) -> None:
            for parameter in parameters:
                if parameter.requires_grad and not any(
                    parameter is other for own_groups in groups.values() for other in own_groups
                ):
                    groups.setdefault((rate, decay if parameter.ndim > 1 else 0.0), []).append(parameter)

        if phase.shares_trunk:
            shared = self.head(phase.heads[0])
            for part in (shared.norm, shared.hidden, shared.deeper):
                if part is not None:
                    add(part.parameters(), optimizer.trunk_rate, optimizer.weight_decay)
        for name in phase.heads:
            decay = optimizer.weight_decay if named[name].weight_decay is None else named[name].weight_decay or 0.0
            add(self.head(name).parameters(), named[name].learning_rate or optimizer.head_rate, decay)
            add(iter([self.variances[name]]), optimizer.head_rate, 0.0)
        layers = list(self.encoder.layers)
        for depth, layer in enumerate(reversed(layers)):
            add(layer.parameters(), optimizer.encoder_rate * optimizer.layer_decay**depth, optimizer.weight_decay)
        add(self.encoder.parameters(), optimizer.encoder_rate * optimizer.layer_decay ** len(layers), optimizer.weight_decay)
        return [{"params": own_groups, "lr": rate, "weight_decay": decay} for (rate, decay), own_groups in groups.items()]


@torch.no_grad()
def _initialise_head(head: Head, source: Head, reference: str) -> None:
    """Copy parameters of the same name and shape; raises `BadModel` if the source reads an encoder of another width."""
    own, theirs = head.state_dict(), source.state_dict()
    if own["norm.weight"].shape != theirs["norm.weight"].shape:
        width, other = len(own["norm.weight"]), len(theirs["norm.weight"])
        raise BadModel(f"{reference}: it reads an encoder of {other} dimensions, and the head {head.config.name!r} one of {width}")
    head.load_state_dict(own | {name: their for name, their in theirs.items() if name in own and own[name].shape == their.shape})

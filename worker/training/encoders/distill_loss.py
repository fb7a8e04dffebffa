"""The loss of a student, and its initial parameters. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch.nn import functional

from worker.errors import BadSettings
from worker.model.encoder import Encoder

if TYPE_CHECKING:
    from torch import Tensor


def build_student(teacher: Encoder, layers: tuple[int, ...]) -> Encoder:
    """Return an encoder with copies of some of the teacher's layers; 1 is the first (Sanh et al., "DistilBERT", 2019).

    Raises `BadSettings` for layers that the teacher does not have, and for all of its layers.
    """
    num_layers = teacher.config.num_hidden_layers
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 1 or layers[-1] > num_layers or len(layers) == num_layers:
        raise BadSettings(f"a student has fewer layers than its teacher, in order, from 1 to {num_layers}: not {layers}")
    student = Encoder(replace(teacher.config, num_hidden_layers=len(layers)))
    kept = {f"layers.{layer - 1}.": f"layers.{number}." for number, layer in enumerate(layers)}
    state = {name: value.clone() for name, value in teacher.state_dict().items() if not name.startswith("layers.")}
    for name, value in teacher.state_dict().items():
        for theirs, ours in kept.items():
            if name.startswith(theirs):
                state[ours + name.removeprefix(theirs)] = value.clone()
    student.load_state_dict(state)
    return student


def spread_layers(num_teacher: int, num_student: int) -> tuple[int, ...]:
    """Return evenly spread layers of the teacher, with the last."""
    return tuple((number + 1) * num_teacher // num_student for number in range(num_student))


def loss(vectors: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor], *, token_weight: float) -> Tensor:
    """Return the loss; the first of each pair is the student's.

    The loss of vectors, `[n, H]`, is one minus their cosine (Reimers and Gurevych, 2020). The loss of states, `[T, H]`, is their
    mean squared difference divided by the teacher's mean square (Jiao et al., "TinyBERT", 2020).
    """
    vector_loss = 1 - functional.cosine_similarity(*vectors, dim=1).mean()
    state_loss = (states[0] - states[1]).square().mean() / states[1].square().mean()
    return vector_loss + token_weight * state_loss

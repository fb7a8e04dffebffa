"""The training strategies: each has phases, and each phase trains some heads and possibly the encoder.

frozen        each head is trained alone, on cached states of the encoder
end-to-end    heads and encoder are trained together; lower layers have a lower rate
then-freeze   the encoder is trained with the first head, then frozen for the other heads
transfer      as frozen, but each head starts from the parameters of the previous head
trunk         heads share their norm and hidden layers, which have their own rate
separate      end-to-end for each head alone: several models, each a run of its own

All strategies except `frozen` and `transfer` accept `upper_layers`: only the upper layers of the encoder are trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.training.config import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """The heads and the encoder that are trained until dev no longer improves."""

    heads: tuple[str, ...]
    is_encoder_frozen: bool
    #: By the name of a head: the head whose parameters it starts from.
    initial: Mapping[str, str]
    shares_trunk: bool = False


def build_phases(run: TrainingRun) -> list[Phase]:
    """Return the phases of a run, in order."""
    strategy, names = run.training.strategy, tuple(head.name for head in run.heads)
    initial = {head.name: head.initial for head in run.heads if head.initial is not None}
    if strategy in ("end-to-end", "separate"):
        return [Phase(heads=names, is_encoder_frozen=False, initial=initial)]
    if strategy == "trunk":
        is_frozen = run.training.upper_layers is None
        return [Phase(heads=names, is_encoder_frozen=is_frozen, initial=initial, shares_trunk=True)]
    if strategy == "transfer":
        initial = dict(zip(names[1:], names, strict=False)) | initial
    frozen = [strategy != "then-freeze" or number > 0 for number in range(len(names))]
    return [Phase(heads=(name,), is_encoder_frozen=own, initial=initial) for name, own in zip(names, frozen, strict=True)]

"""The training strategies: each has phases, and each phase trains some heads and possibly the encoder.

frozen        each head is trained alone, on cached states of the encoder
end-to-end    heads and encoder are trained together; lower layers have a lower rate
then-freeze   the encoder is trained with the first head, then frozen for the other heads
transfer      as frozen, but each head starts from the parameters of the previous head
trunk         heads share their norm and hidden layers, which have their own rate
separate      end-to-end for each head alone: several models

All strategies except `frozen` and `transfer` accept `upper_layers`: only the upper layers of the encoder are trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.training.config import Strategy, TrainingRun


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
    return _STRATEGIES[run.training.strategy](run)


def _frozen(run: TrainingRun) -> list[Phase]:
    return [_phase(run, name, is_frozen=True) for name in _names(run)]


def _end_to_end(run: TrainingRun) -> list[Phase]:
    return [_phase(run, *_names(run), is_frozen=False)]


def _then_freeze(run: TrainingRun) -> list[Phase]:
    first, *others = _names(run)
    return [_phase(run, first, is_frozen=False), *(_phase(run, name, is_frozen=True) for name in others)]


def _transfer(run: TrainingRun) -> list[Phase]:
    names = _names(run)
    initial = dict(zip(names[1:], names, strict=False)) | _initial(run)
    return [Phase(heads=(name,), is_encoder_frozen=True, initial=initial) for name in names]


def _trunk(run: TrainingRun) -> list[Phase]:
    is_frozen = run.training.upper_layers is None
    return [Phase(heads=_names(run), is_encoder_frozen=is_frozen, initial=_initial(run), shares_trunk=True)]


def _phase(run: TrainingRun, *names: str, is_frozen: bool) -> Phase:
    return Phase(heads=names, is_encoder_frozen=is_frozen, initial=_initial(run))


def _initial(run: TrainingRun) -> dict[str, str]:
    return {head.name: head.initial for head in run.heads if head.initial is not None}


def _names(run: TrainingRun) -> tuple[str, ...]:
    return tuple(head.name for head in run.heads)


_STRATEGIES: Mapping[Strategy, Callable[[TrainingRun], list[Phase]]] = {
    "frozen": _frozen,
    "end-to-end": _end_to_end,
    "then-freeze": _then_freeze,
    "transfer": _transfer,
    "trunk": _trunk,
    # `train` runs each head as a run of its own.
    "separate": _end_to_end,
}

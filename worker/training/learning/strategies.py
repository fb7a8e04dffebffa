"""The strategies: each says in which phases what learns. The loop, the losses and the files are the same for all.

frozen        the encoder stays as it is; each head learns by itself, from states that are computed once
end-to-end    everything learns together, the encoder more slowly, its lower layers most slowly
then-freeze   the encoder and the first head learn; then everything but the other heads is frozen
transfer      as frozen, but each head starts from the parameters of the one before it
trunk         heads share their norm and hidden layers, which learn from all tasks, at a rate of their own
separate      end to end, for each head an encoder of its own: several models

All but `frozen` can be had on an encoder whose upper layers alone learn (`upper_layers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.training.config import Strategy, TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What learns, until dev no longer gains."""

    heads: tuple[str, ...]
    is_encoder_frozen: bool
    #: What its heads start from, by the name of a head.
    initial: Mapping[str, str]
    shares_trunk: bool = False


def phases(run: TrainingRun) -> list[Phase]:
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
    # Its heads come one at a time, each as a run of its own (`train`).
    "separate": _end_to_end,
}

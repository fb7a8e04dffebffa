"""Who is compared, on what, and with how much work for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from worker.training.config import of
from worker.training.data.examples import TaggedText
from worker.training.synthetic.made import HeldOut, make
from worker.training.synthetic.swapping import Swapping

if TYPE_CHECKING:
    from pathlib import Path

    from worker.training.config import TrainingRun

RICH, SCARCE = "sentiment", "ner"
# Makes more texts for the scarce task out of those that it has, none like one that is held out: `more(texts, held_out, seed)`.
More: TypeAlias = Callable[[Sequence[TaggedText], Sequence[str], int], Sequence[TaggedText]]
# As many texts are made for each that there is.
_MADE_OF_EACH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to train both heads."""

    name: str
    #: What it changes in the run's `training`.
    training: Mapping[str, Any]
    #: What it changes in the options of the rich task's head.
    rich: Mapping[str, Any] = field(default_factory=dict)
    #: What adds texts to the scarce task.
    more: More | None = None


def swapped(texts: Sequence[TaggedText], held_out: Sequence[str], seed: int) -> Sequence[TaggedText]:
    """Return texts whose entities were swapped; raises `BadSettings` where there are none to swap."""
    return make([Swapping(texts)], _MADE_OF_EACH * len(texts), HeldOut(held_out), seed=seed).texts


_TUNED = {"strategy": "end-to-end"}
_WHOLE = "end-to-end"
#: The strategies in which an encoder learns.
_TUNING = {"end-to-end", "then-freeze", "separate"}
CONTENDERS = (
    Contender(name="frozen", training={"strategy": "frozen"}),
    Contender(name=_WHOLE, training=_TUNED),
    Contender(name="upper layers only", training=_TUNED | {"upper_layers": 2}),
    Contender(name="inverse-size weights", training=_TUNED | {"loss_weights": "inverse-size"}),
    Contender(name="uncertainty weights", training=_TUNED | {"loss_weights": "uncertainty"}),
    Contender(name="square-root sampling", training=_TUNED | {"sampling": "square-root"}),
    Contender(name="temperature sampling", training=_TUNED | {"sampling": "temperature"}),
    Contender(name="then-freeze", training={"strategy": "then-freeze"}),
    Contender(name="asymmetric regularisation", training=_TUNED, rich={"dropout": 0.5, "weight_decay": 0.3}),
    Contender(name="entities swapped", training=_TUNED, more=swapped),
    Contender(name="transfer", training={"strategy": "transfer"}),
    Contender(name="trunk", training={"strategy": "trunk"}),
    Contender(name="separate", training={"strategy": "separate"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlan:
    """A comparison."""

    encoder: str
    #: The data of both heads, as in a run's file.
    rich: Mapping[str, Any]
    scarce: Mapping[str, Any]
    data_directory: Path
    cache: Path
    contenders: Sequence[Contender] = CONTENDERS
    #: How much of the scarce task's training texts there is.
    shares: Sequence[float] = (0.01, 0.05, 0.2)
    seeds: Sequence[int] = (0, 1, 2)
    steps: int = 250
    batch_texts: int = 32
    #: The most texts of dev, and of test, for each task.
    max_dev_texts: int = 300
    max_test_texts: int = 1000
    #: How many layers learn, from the top, wherever an encoder does; unset: all, but for those who want fewer.
    upper_layers: int | None = None
    #: The layers that both heads read; unset: all but the lowest two.
    layers: Sequence[int] | None = None
    hidden_size: int = 128
    head_rate: float = 1e-3
    encoder_rate: float = 1e-4

    @property
    def cells(self) -> list[Cell]:
        """Return all cells: of each seed one after the other, so that a comparison that is cut off has whole seeds."""
        return [Cell(it, share, seed) for seed in self.seeds for share in self.shares for it in self._compared]

    @property
    def _compared(self) -> list[Contender]:
        # Where upper layers alone learn, this is the same as the one that is named after them.
        return [it for it in self.contenders if not (self.upper_layers and it.name == _WHOLE)]

    def run(self, contender: Contender, seed: int) -> TrainingRun:
        """Return the run of a contender; an epoch is a tenth of the budget, and dev chooses among them."""
        head: dict[str, Any] = {"layers": self.layers, "hidden_size": self.hidden_size}
        is_partly_tuned = self.upper_layers and contender.training["strategy"] in _TUNING
        return of(
            {
                "name": "comparison",
                "encoder": self.encoder,
                "cache": self.cache,
                "data_directory": self.data_directory,
                "seed": seed,
                "training": {
                    "batch_texts": self.batch_texts,
                    "max_steps": self.steps,
                    "epoch_steps": max(1, self.steps // 10),
                    # The steps end it.
                    "epochs": 1_000_000,
                    "patience": 1_000_000,
                    **contender.training,
                    **({"upper_layers": self.upper_layers} if is_partly_tuned else {}),
                },
                "optimizer": {"head_rate": self.head_rate, "encoder_rate": self.encoder_rate},
                "heads": [
                    {"name": RICH, "task": "classify", "data": self.rich, **head, **contender.rich},
                    {"name": SCARCE, "task": "ner", "data": self.scarce, **head},
                ],
            },
            source="comparison",
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """A contender on so much of the scarce task's texts."""

    contender: Contender
    share: float
    seed: int

    @property
    def key(self) -> tuple[str, float, int]:
        """What names it in a journal."""
        return self.contender.name, self.share, self.seed

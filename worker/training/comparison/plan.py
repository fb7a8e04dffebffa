"""Which strategies are compared, on which tasks, and with how many steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from worker.training.config import check_run
from worker.training.data.examples import TaggedText
from worker.training.synthetic.generate import HeldOutTexts, MentionReplacement, generate

if TYPE_CHECKING:
    from pathlib import Path

    from worker.training.config import TrainingRun

#: The names of the two heads: the task with many training texts, and the task with few.
LARGE, SMALL = "sentiment", "ner"
#: Generates texts for the small task from its own texts, none similar to a held-out text: `augment(texts, held_out, seed)`.
Augment: TypeAlias = Callable[[Sequence[TaggedText], Sequence[str], int], Sequence[TaggedText]]
_GENERATED_PER_TEXT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to train both heads."""

    name: str
    #: Changes to the run's `training`.
    training: Mapping[str, Any]
    #: Changes to the options of the large task's head.
    large: Mapping[str, Any] = field(default_factory=dict)
    #: Adds texts to the small task.
    augment: Augment | None = None


def replace_mentions(texts: Sequence[TaggedText], held_out: Sequence[str], seed: int) -> Sequence[TaggedText]:
    """Return texts with other mentions of the same types; raises `BadSettings` if no type has two different mentions."""
    return generate([MentionReplacement(texts)], _GENERATED_PER_TEXT * len(texts), HeldOutTexts(held_out), seed=seed).texts


_TUNED = {"strategy": "end-to-end"}
_WHOLE = "end-to-end"
_TUNING_STRATEGIES = {"end-to-end", "then-freeze", "separate"}
CONTENDERS = (
    Contender(name="frozen", training={"strategy": "frozen"}),
    Contender(name=_WHOLE, training=_TUNED),
    Contender(name="upper layers only", training=_TUNED | {"upper_layers": 2}),
    Contender(name="inverse-size weights", training=_TUNED | {"loss_weights": "inverse-size"}),
    Contender(name="uncertainty weights", training=_TUNED | {"loss_weights": "uncertainty"}),
    Contender(name="square-root sampling", training=_TUNED | {"sampling": "square-root"}),
    Contender(name="temperature sampling", training=_TUNED | {"sampling": "temperature"}),
    Contender(name="then-freeze", training={"strategy": "then-freeze"}),
    Contender(name="asymmetric regularisation", training=_TUNED, large={"dropout": 0.5, "weight_decay": 0.3}),
    Contender(name="entities swapped", training=_TUNED, augment=replace_mentions),
    Contender(name="transfer", training={"strategy": "transfer"}),
    Contender(name="trunk", training={"strategy": "trunk"}),
    Contender(name="separate", training={"strategy": "separate"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlan:
    """A comparison of contenders on two tasks."""

    encoder: str
    #: The data of each task's head, with the keys of a run's file.
    large: Mapping[str, Any]
    small: Mapping[str, Any]
    data_directory: Path
    cache: Path
    contenders: Sequence[Contender] = CONTENDERS
    #: Shares of the small task's training texts.
    shares: Sequence[float] = (0.01, 0.05, 0.2)
    seeds: Sequence[int] = (0, 1, 2)
    steps: int = 250
    batch_texts: int = 32
    #: Maximum texts of each task for early stopping, and for the score.
    max_dev_texts: int = 300
    max_test_texts: int = 1000
    #: How many of the encoder's layers learn, from the top. Unset: all, except for contenders with a number of their own.
    upper_layers: int | None = None
    head_rate: float = 1e-3
    encoder_rate: float = 1e-4

    @property
    def cells(self) -> list[Cell]:
        """Return all cells, seed by seed: an interrupted comparison has complete seeds."""
        # With `upper_layers`, end-to-end tuning is the same as "upper layers only".
        contenders = [contender for contender in self.contenders if not (self.upper_layers and contender.name == _WHOLE)]
        return [Cell(contender, share, seed) for seed in self.seeds for share in self.shares for contender in contenders]

    def build_run(self, contender: Contender, seed: int) -> TrainingRun:
        """Return the run of a contender; an epoch is a tenth of the steps, and dev chooses the best epoch."""
        limits_layers = self.upper_layers and contender.training["strategy"] in _TUNING_STRATEGIES
        return check_run(
            {
                "encoder": self.encoder,
                "cache": self.cache,
                "data_directory": self.data_directory,
                "seed": seed,
                "training": {
                    "max_steps": self.steps,
                    "epochs": self.steps,
                    "patience": self.steps,
                    "epoch_steps": max(1, self.steps // 10),
                    "batch_texts": self.batch_texts,
                    **contender.training,
                    **({"upper_layers": self.upper_layers} if limits_layers else {}),
                },
                "optimizer": {"head_rate": self.head_rate, "encoder_rate": self.encoder_rate},
                "heads": [
                    {"name": LARGE, "task": "classify", "data": self.large, **contender.large},
                    {"name": SMALL, "task": "ner", "data": self.small},
                ],
            },
            source="comparison",
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One training run of a comparison: a contender, a share of the small task's texts, and a seed."""

    contender: Contender
    share: float
    seed: int

    @property
    def key(self) -> tuple[str, float, int]:
        """The name of the cell in the journal."""
        return self.contender.name, self.share, self.seed

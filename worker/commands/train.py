"""Train heads and print their scores."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from worker.training.fit import FitOptions
from worker.training.train import TrainOptions
from worker.training.train import train as train_heads

if TYPE_CHECKING:
    from pathlib import Path


def train(
    *, output: Path, encoder: str, name: str, ner_train: tuple[Path, ...], ner_test: tuple[Path, ...], cache: Path, seed: int
) -> None:
    """Train, and say what is happening."""
    options = TrainOptions(
        encoder=encoder,
        output=output,
        cache=cache,
        name=name,
        ner_train=ner_train,
        ner_test=ner_test,
        fit=FitOptions(seed=seed),
    )
    train_heads(options, lambda line: print(line, file=sys.stderr))  # noqa: T201  this is what the command is for
    sys.stdout.write((output / "README.md").read_text())

"""Train one head on cached states: AdamW, and the parameters of the best epoch on the development rows, at their temperature."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from worker.model.heads import Head
from worker.training.temperature import calibrate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from worker.model.heads import HeadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a head is trained."""

    epochs: int = 20
    #: Epochs without a better development loss after which training ends.
    patience: int = 3
    batch_rows: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    """What a head learns from: float16 states `[rows, layers, H]` and what it should say of each row, `[rows]`.

    That is the index of the label, int64; for two classes it may also be the probability of the second, float32.
    """

    states: NDArray[np.float16]
    labels: NDArray[np.int64] | NDArray[np.float32]

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        """Return the chosen rows."""
        return Rows(self.states[chosen], self.labels[chosen])


def fit(config: HeadConfig, train: Rows, dev: Rows, *, options: FitOptions, progress: Callable[[str], None]) -> Head:
    """Train a head; the same rows, options and seed give the same head on the CPU."""
    generator = np.random.default_rng(options.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        head = Head(config, train.states.shape[-1])
        optimizer = torch.optim.AdamW(head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        best_loss, best_state, num_worse = float("inf"), copy.deepcopy(head.state_dict()), 0
        for epoch in range(options.epochs):
            _train_epoch(head, optimizer, train, generator, options.batch_rows)
            loss = dev_loss(head, dev)
            progress(f"{config.name}: epoch {epoch + 1}, development loss {loss:.4f}")
            num_worse = 0 if loss < best_loss else num_worse + 1
            if loss < best_loss:
                best_loss, best_state = loss, copy.deepcopy(head.state_dict())
            if num_worse == options.patience:
                break
    head.load_state_dict(best_state)
    progress(f"{config.name}: temperature {calibrate(head, dev):.3f}")
    return head


def _train_epoch(head: Head, optimizer: torch.optim.Optimizer, rows: Rows, generator: np.random.Generator, batch_rows: int) -> None:
    head.train()
    order = generator.permutation(len(rows.labels))
    for first in range(0, len(order), batch_rows):
        chosen = np.sort(order[first : first + batch_rows])
        optimizer.zero_grad()
        _loss(head, rows.states[chosen], rows.labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.inference_mode()
def dev_loss(head: Head, rows: Rows, *, batch_rows: int = 8192) -> float:
    """Return the mean cross-entropy over some rows."""
    head.eval()
    chunks = range(0, len(rows.labels), batch_rows)
    total = sum(
        float(_loss(head, rows.states[it : it + batch_rows], rows.labels[it : it + batch_rows]))
        * len(rows.labels[it : it + batch_rows])
        for it in chunks
    )
    return total / len(rows.labels)


def _loss(head: Head, states: NDArray[np.float16], labels: NDArray[np.int64] | NDArray[np.float32]) -> torch.Tensor:
    layers = torch.from_numpy(states.astype(np.float32)).unbind(1)
    logits, target = head(list(layers)), torch.from_numpy(labels)
    if logits.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], target.float())
    return functional.cross_entropy(logits, target)

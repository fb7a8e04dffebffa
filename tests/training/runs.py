"""Training runs on the tiny encoder, for tests of what happens in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tests.model.checkpoint import tiny
from worker.model.checkpoint import checkpoint
from worker.training.config import TrainingRun, check_run
from worker.training.learning.phases import Learned, learn
from worker.training.learning.state_cache import StateCache
from worker.training.learning.tasks import build_task

if TYPE_CHECKING:
    from pathlib import Path

    from worker.training.learning.snapshot import Snapshots
    from worker.training.learning.tasks import TrainingTask


class Silent:
    """A reporter that keeps all lines and shows none."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Remember a line."""
        self.lines.append(line)

    def track(self, what: str, total: int) -> Any:
        """Remember that something takes long."""
        from contextlib import nullcontext  # noqa: PLC0415

        self.lines.append(f"{what}: {total}")
        return nullcontext(lambda _count: None)


def values(directory: Path, strategy: str = "frozen", **training: Any) -> dict[str, Any]:
    """Return the values of a run of a mood head and an entity head, its encoder and its texts being made in `directory`."""
    cut = {"dev_share": 0.2, "test_share": 0.2}
    moods, people = tiny.moods_in(directory / "texts" / "moods.jsonl"), tiny.people_in(directory / "texts" / "people.conll")
    return {
        "name": "tiny",
        "encoder": str(tiny.encoder_in(directory / "encoder")),
        "output": directory / "out",
        "cache": directory / "cache",
        "training": {"strategy": strategy, "epochs": 3, "batch_texts": 16, "threads": 1} | training,
        "optimizer": {"head_rate": 1e-2, "encoder_rate": 5e-3},
        "heads": [
            {"name": "mood", "task": "classify", "hidden_size": 16, "data": {"train": [moods], **cut}},
            {"name": "ner", "task": "ner", "hidden_size": 16, "data": {"train": [people], **cut}},
        ],
    }


def build_run(directory: Path, strategy: str = "frozen", **training: Any) -> TrainingRun:
    """Return such a run."""
    return check_run(values(directory, strategy, **training), source="test")


def build_tasks(run: TrainingRun, loaded: checkpoint.Checkpoint) -> list[TrainingTask]:
    """Return the tasks of a run."""
    return [build_task(head, loaded, directory=run.data_directory, cache=run.cache, seed=run.seed) for head in run.heads]


def learned(run: TrainingRun, *, snapshots: Snapshots | None = None, reporter: Silent | None = None) -> Learned:
    """Learn what a run says, from the beginning or from a snapshot; with as many threads, on which the last bits depend."""
    torch.set_num_threads(run.training.threads or 1)
    loaded = checkpoint.load(run.encoder)
    store = StateCache(run.cache / "states", max_gigabytes=run.cache_gigabytes)
    return learn(run, loaded, build_tasks(run, loaded), store=store, reporter=reporter or Silent(), snapshots=snapshots)

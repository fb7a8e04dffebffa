"""Train the heads of a run, and its encoder if the strategy tunes it; save and score the checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import compute_sha256
from worker.model.encoder.number_format import number_format
from worker.model.engine import Engine
from worker.training.card import card
from worker.training.data.splits import Side
from worker.training.evaluation.evaluate import compute_scores
from worker.training.learning.objectives import run_head
from worker.training.learning.phases import learn
from worker.training.learning.snapshot import Snapshots
from worker.training.learning.state_cache import StateCache
from worker.training.learning.tasks import build_task
from worker.training.learning.temperature import calibrate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from worker.model.checkpoint.checkpoint import Checkpoint
    from worker.model.processor.devices import Dtype
    from worker.training.config import TrainingRun
    from worker.training.learning.phases import Learned
    from worker.training.learning.tasks import TrainingTask
    from worker.training.progress import Reporter

_STATES = "states"
# The data types in which a checkpoint is served.
_NAMES: Mapping[torch.dtype, Dtype] = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_PACKAGES = ("gist-stream", "torch", "numpy", "tokenizers", "safetensors")
# Paths are no part of a run's fingerprint.
_PLACES = {"output", "cache", "cache_gigabytes", "data_directory"}


def train(run: TrainingRun, reporter: Reporter, *, is_fresh: bool = False) -> list[Path]:
    """Train, save and score; return the directory of the new checkpoint, or one for each head with the strategy `separate`.

    An interrupted run continues after its last complete epoch, unless `is_fresh`. Raises `BadSettings` for the data, a full disk
    and the snapshot of another run, and `BadModel` for the encoder.
    """
    if run.training.strategy != "separate":
        return [_train(run, reporter, is_fresh=is_fresh)]
    return [_train(single_task(run, number), reporter, is_fresh=is_fresh) for number in range(len(run.heads))]


def single_task(run: TrainingRun, number: int) -> TrainingRun:
    """Return the run of one head with its share of the steps."""
    head = run.heads[number]
    training = run.training.model_copy(update={"strategy": "end-to-end", "max_steps": -(-run.training.max_steps // len(run.heads))})
    return run.model_copy(
        update={"heads": (head,), "name": f"{run.name}-{head.name}", "output": run.output / head.name, "training": training}
    )


def _train(run: TrainingRun, reporter: Reporter, *, is_fresh: bool) -> Path:
    torch.set_num_threads(run.training.threads or len(os.sched_getaffinity(0)))
    loaded = checkpoint.load(run.encoder)
    tasks = [build_task(head, loaded, directory=run.data_directory, cache=run.cache, seed=run.seed) for head in run.heads]
    for task in tasks:
        sizes = ", ".join(f"{len(texts):,} {side}" for side, texts in task.sides.items())
        rejected = f"; {task.num_rejected:,} rejected by annotators, left out" if task.num_rejected else ""
        reporter.say(f"{task.head.name}: {sizes}; {', '.join(task.head.labels)}{rejected}")
    snapshots = Snapshots(run.output, fingerprint(run, tasks))
    if is_fresh:
        snapshots.remove()
    store = StateCache(run.cache / _STATES, max_gigabytes=run.cache_gigabytes)
    learned = learn(run, loaded, tasks, store=store, reporter=reporter, snapshots=snapshots)
    for own_task in tasks:
        head = learned.learner.head(own_task.head.name)
        temperature = calibrate(head, run_head(head, learned.states, own_task, own_task.sides[Side.DEV]))
        reporter.say(f"{own_task.head.name}: temperature {temperature:.3f}")
    training = _provenance(run, tasks, learned)
    _save(run, loaded, learned, tasks, training)
    served: dict[Dtype, None] = dict.fromkeys(["float32", _NAMES[number_format("auto", torch.device("cpu"))]])
    for dtype in served:
        reporter.say(f"scoring as served, {dtype}")
        engine = Engine.load(str(run.output), device="cpu", dtype=dtype)
        training["scores"][dtype] = compute_scores(engine, tasks)
    _save(run, loaded, learned, tasks, training)
    snapshots.remove()
    return run.output


def fingerprint(run: TrainingRun, tasks: Sequence[TrainingTask]) -> str:
    """Return a digest of everything that determines the weights: configuration, encoder and data."""
    encoder = checkpoint.build_encoder(run.encoder).directory
    parts = [described(run), [dict(task.sources) for task in tasks], compute_sha256(encoder / "model.safetensors")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def described(run: TrainingRun) -> dict[str, Any]:
    """Return the configuration as plain values; files have their folder and name only."""
    values: dict[str, Any] = run.model_dump(mode="json", exclude=_PLACES)
    for head in values["heads"]:
        for side in Side:
            head["data"][side] = ["/".join(Path(dataset).parts[-2:]) for dataset in head["data"][side]]
    return values


def _provenance(run: TrainingRun, tasks: Sequence[TrainingTask], learned: Learned) -> dict[str, Any]:
    return {
        "configuration": described(run),
        "data": {title: digest for task in tasks for title, digest in task.sources.items()},
        "texts": {task.head.name: {str(side): len(texts) for side, texts in task.sides.items()} for task in tasks},
        "versions": {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES},
        "threads": torch.get_num_threads(),
        "seconds": round(learned.position.seconds, 1),
        "history": learned.position.history,
        "scores": {},
    }


def _save(run: TrainingRun, loaded: Checkpoint, learned: Learned, tasks: Sequence[TrainingTask], training: dict[str, Any]) -> None:
    heads = [learned.learner.head(task.head.name) for task in tasks]
    checkpoint.save(
        run.output,
        name=run.name,
        encoder_reference=run.encoder,
        encoder=loaded.encoder if learned.is_encoder_tuned else None,
        heads=heads,
        training=training,
        card=card(run.name, checkpoint.build_encoder(run.encoder).reference, [head.config for head in heads], training),
    )

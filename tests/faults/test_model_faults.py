"""A model that fails, that is too slow, or whose files change under it: what comes out is right, or a dead letter, or nothing."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.faults.lab.lab import SCALE, Lab
from tests.faults.lab.observer import map_topics
from worker.broker.tools.clients import read_to_end
from worker.model.checkpoint.head_files import HEADS
from worker.model.checkpoint.manifest import MANIFEST
from worker.model.checkpoint.references import locate
from worker.model.engine import Engine
from worker.records import Item, Output, Partition, Record, Task, TokenizedItem
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.lab.cluster import Cluster
    from tests.faults.lab.oracle import Mode

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(600)]


async def test_a_text_that_the_model_fails_on_fails_alone(broker: Cluster, mode: Mode, seed: int) -> None:
    """A text that raises, exhausts the memory or gives NaN is a dead letter; the rest of its batch has outputs."""
    async with Lab(mode=mode, seed=seed, cluster=broker, poison_every=20) as lab:
        worker = lab.worker("a")
        await worker.ready()
        lab.fault("poisoned_texts", every=20)
        await lab.produce(2_000, rate=300)
        await lab.settled(120)
        totals = await lab.verify()
        assert totals.dead_letters == 100
        assert worker.metric("gist_partition_session_failures_total") == 0


async def test_ten_times_more_than_the_model_can_do(broker: Cluster, mode: Mode, seed: int) -> None:
    """The worker's memory stays bounded under overload; at the end each record is processed once."""
    async with Lab(mode=mode, seed=seed, cluster=broker) as lab:
        # A pass of at most 64 records in 0.2 s: 320 a second.
        worker = lab.worker("a", fault_pass_s=0.2)
        await worker.ready()
        lab.fault("overload", rate=3_200)
        produced = lab.produce(6_400 * SCALE, rate=3_200)
        await lab.settled(60)
        await produced
        totals = await lab.verify()
        assert totals.duplicated == 0
        assert worker.metric("gist_partition_session_failures_total") == 0


def flip(path: Path) -> None:
    """Change one byte in the middle, in place."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))


def truncate(path: Path) -> None:
    """Cut the second half off, in place: whoever has it in memory by a mapping is killed by the kernel for touching it."""
    os.truncate(path, path.stat().st_size // 2)


def swap(path: Path) -> None:
    """Put another file of the same size in its place."""
    other = path.with_suffix(".other")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    other.write_bytes(content)
    other.replace(path)


@pytest.mark.model
@pytest.mark.parametrize(("file", "damage"), [("model.safetensors", truncate), ("model.safetensors", flip), (HEADS, swap)])
async def test_a_checkpoint_changes_under_a_running_worker(
    broker: Cluster, mode: Mode, seed: int, tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    """The worker keeps its loaded checkpoint; the next start refuses the changed file, and no wrong output is published."""
    model = checkpoint(tmp_path)
    path = (tmp_path / "encoder" if file == "model.safetensors" else model) / file
    whole = path.read_bytes()
    async with Lab(mode=mode, seed=seed, cluster=broker, is_content_known=False) as lab:
        worker = lab.worker("a", fault_model="real", model=str(model))
        worker.max_resident_bytes = 1_200_000_000
        await worker.ready()
        await lab.produce(300, rate=100)
        lab.fault("checkpoint_damaged", file=file, how=damage.__name__)
        damage(path)
        await lab.produce(300, rate=100)
        await lab.settled(120)
        assert worker.is_running
        assert await worker.stop() == 0
        worker.launch(FAULT_MODEL="real")
        assert await worker.exited(60) == 5
        assert file in worker.log.read_text().splitlines()[-1]
        lab.produce(300, rate=100)
        path.write_bytes(whole)
        worker.launch(FAULT_MODEL="real")
        await worker.ready()
        await lab.settled(120)
        await lab.verify()
        await check_outputs(lab)


def checkpoint(directory: Path) -> Path:
    """Return a copy of the shipped model, its encoder included."""
    model = shutil.copytree(locate(DEFAULT_MODEL).directory, directory / "model")
    manifest = json.loads((model / MANIFEST).read_bytes())
    shutil.copytree(locate(manifest["encoder"]["reference"]).directory, directory / "encoder")
    manifest["encoder"]["reference"] = str(directory / "encoder")
    (model / MANIFEST).write_text(json.dumps(manifest))
    return model


async def check_outputs(lab: Lab) -> None:
    """Hold vectors and labels of all records against what the shipped model says, in fp32."""
    vectors, labels = {}, {}
    topics = map_topics(lab.topic)
    places = {
        Partition(topics[output], i): 0 for output in (Output.EMBEDDINGS, Output.LABELS) for i in range(lab.workload.num_partitions)
    }
    async for records in read_to_end(lab.connection, places):
        for message in records:
            value = json.loads(message.value or b"")
            if message.partition.topic == topics[Output.EMBEDDINGS]:
                vectors[int(message.key or b"")] = value["embedding"]
            else:
                labels[int(message.key or b"")] = value["labels"]
    engine = Engine.load(DEFAULT_MODEL, dtype="float32")
    numbers = sorted(vectors)
    record = Record(Partition("t", 0), 0, None, b"")
    items = [Item(record, "", lab.workload.text(number), frozenset({Task.EMBED, Task.CLASSIFY})) for number in numbers]
    tokens = engine.tokenize([entry.text for entry in items])
    predictions = engine.infer([TokenizedItem(item, text_tokens) for item, text_tokens in zip(items, tokens, strict=True)])
    for number, prediction in zip(numbers, predictions, strict=True):
        assert prediction.embedding is not None
        assert prediction.labels is not None
        assert np.dot(prediction.embedding, vectors[number]) > 0.99
        for name, own in prediction.labels.items():
            assert labels[number][name]["scores"] == pytest.approx(dict(own.scores), abs=0.1)

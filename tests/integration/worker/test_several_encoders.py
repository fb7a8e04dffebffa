"""An embedder, an imported tagger and an imported classifier of other families in one worker, on a real Kafka."""

from __future__ import annotations

import asyncio
import signal
import urllib.request
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from tests.integration.support.workers import Watcher, WorkerProcess, create, first_seen, produce
from tests.model.published import TEXTS, publish_family
from worker.commands.training.import_published import import_published
from worker.records import Output
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from pathlib import Path

    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(300)]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
# At the end, the worker that was killed has left some of these records, and has never seen the last ones.
NUM_BEFORE, NUM_AFTER = 600, 100


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the models, as they are published and as they are imported."""
    folder = tmp_path_factory.mktemp("models")
    publish_family(folder / "embedder", "xlm-roberta")
    tagger = publish_family(folder / "tagger", "electra", "ForTokenClassification", labels=TAGS)
    classifier = publish_family(folder / "classifier", "roberta", "ForSequenceClassification", labels=["bad", "meh", "good"])
    import_published(str(tagger), folder / "names", name="names", execute=True)
    import_published(str(classifier), folder / "moods", name="moods", execute=True)
    return folder


@pytest.fixture(scope="module")
def expected(models: Path) -> list[tuple[Any, dict[str, float], list[tuple[str, str]]]]:
    """Return the vector, the scores and the entities of each text, as transformers computes them."""
    from transformers import pipeline  # noqa: PLC0415  heavy

    states = pipeline("feature-extraction", model=str(models / "embedder"), device=-1)(TEXTS)
    means = [np.mean(own[0], axis=0) for own in states]
    labels = pipeline("text-classification", model=str(models / "classifier"), device=-1, top_k=None)(TEXTS)
    tags = pipeline("token-classification", model=str(models / "tagger"), device=-1, aggregation_strategy="first")(TEXTS)
    return [
        (
            mean / np.linalg.norm(mean),
            {row["label"]: row["score"] for row in rows},
            [(entity["entity_group"], text[entity["start"] : entity["end"]]) for entity in own],
        )
        for mean, rows, own, text in zip(means, labels, tags, TEXTS, strict=True)
    ]


def check_output(output: Output, value: dict[str, Any], answer: tuple[Any, dict[str, float], list[tuple[str, str]]]) -> None:
    """Compare an output with the answer of transformers."""
    vector, scores, entities = answer
    if output is Output.EMBEDDINGS:
        np.testing.assert_allclose(value["embedding"], vector, atol=1e-4)
    elif output is Output.LABELS:
        assert value["labels"]["moods"]["scores"] == pytest.approx(scores, abs=1e-3)
        assert value["labels"].keys() == {"moods"}
    elif output is Output.ENTITIES:
        assert [(entity["type"], entity["text"]) for entity in value["entities"]] == entities


def read_readiness(port: int) -> list[str]:
    """Return the lines of `/readyz`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        return list(answer.read().decode().splitlines())


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_a_killed_worker_with_several_encoders_loses_nothing(
    connection: Connection, topic: str, models: Path, expected: list[Any], delivery: str
) -> None:
    """The outputs are those of transformers and name their models, in order; with exactly once, nothing is repeated."""
    count = NUM_BEFORE + NUM_AFTER
    texts = [TEXTS[number % len(TEXTS)] for number in range(count)]
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, texts[:NUM_BEFORE], num_partitions=2)
    model = ",".join(str(models / name) for name in ("embedder", "names", "moods"))

    def worker() -> WorkerProcess:
        # A static member of the classic protocol does not wait for the session of its predecessor.
        settings = {
            "model": model,
            "dtype": "float32",
            "delivery": delivery,
            "group_instance_id": "here",
            "group_protocol": "classic",
        }
        return WorkerProcess(connection.bootstrap_servers, topic, **settings)

    async with Watcher(connection, topic, num_expected=count) as watcher:
        with worker() as first:
            await watcher.until(lambda: watcher.account.num_accounted > 50)
            await first.end(signal.SIGKILL)
        await produce(connection, topic, texts[NUM_BEFORE:], num_partitions=2, first=NUM_BEFORE)
        with worker() as second:
            await watcher.all_accounted()
            about = await asyncio.to_thread(read_readiness, second.port)
    for offsets in watcher.order.values():
        assert first_seen(offsets) == list(range(count // 2))
    names: dict[Output, set[str]] = {}
    for output, record in watcher.records:
        value = orjson.loads(record.value or b"")
        check_output(output, value, expected[int(value["id"].removeprefix("id-")) % len(TEXTS)])
        names.setdefault(output, set()).add(read_headers(record.headers)["gist-model"].decode().partition("@")[0])
    assert names == {Output.EMBEDDINGS: {"embedder"}, Output.LABELS: {"moods"}, Output.ENTITIES: {"names"}}
    assert [line.partition("@")[0] for line in about[1:]] == ["embedder", "names", "moods"]
    if delivery == "exactly_once":
        assert watcher.account.num_duplicates == 0

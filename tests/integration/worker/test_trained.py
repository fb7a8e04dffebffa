"""A checkpoint that `train` made, served by `run` as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.workers import WorkerProcess
from tests.training.runs import Silent, build_run
from worker.commands import check, produce, tail
from worker.model.engine import Engine
from worker.records import Task
from worker.settings import read
from worker.training.evaluation.evaluate import predictions
from worker.training.train import train

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(300)]
TEXTS = ["ada lives in paris", "the film was awful"]


def test_a_tuned_checkpoint_is_served(kafka: str, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own encoder and both its heads answer through Kafka what they answer here."""
    (directory,) = train(build_run(tmp_path, "end-to-end", epochs=6), Silent())
    (tmp_path / "encoder").rename(tmp_path / "gone")
    settings = read({"bootstrap_servers": kafka, "input_topic": topic, "group_id": f"group-{topic}", "topic_partitions": 1})
    check.topics(settings, create=True)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    produce.produce(settings, tmp_path / "texts.txt", is_json=False, key=None, rate=0, count=0)
    with WorkerProcess(kafka, topic, model=str(directory), backend="eager", dtype="float32"):
        tail.tail(settings, from_beginning=True, count=len(TEXTS))
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    engine = Engine.load(str(directory), device="cpu", backend="eager", dtype="float32")
    moods = [(prediction.labels or {})["mood"] for prediction in predictions(engine, TEXTS, Task.CLASSIFY)]
    found = [prediction.entities or () for prediction in predictions(engine, TEXTS, Task.NER)]
    assert [line["labels"]["mood"]["label"] for line in shown] == [label.label for label in moods]
    assert [line["labels"]["mood"]["score"] for line in shown] == pytest.approx([label.score for label in moods], abs=1e-4)
    assert [[e["text"] for e in line["entities"]] for line in shown] == [[e.text for e in own] for own in found]
    assert [e.text for e in found[0]] == ["ada", "paris"]

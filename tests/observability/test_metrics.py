"""Telemetry: every metric has a conventional name and a help text, and every log line is a JSON object without secrets."""

from __future__ import annotations

import json
import logging
import re

import pytest
from prometheus_client import generate_latest

from worker.errors import ConsumerBroken, OffsetOutOfRange, PublishFailed
from worker.observability import known_labels
from worker.observability.log_setup import configure_logging
from worker.observability.metrics import WorkerTelemetry
from worker.observability.redaction import redacted
from worker.records import Output, Stage, Task


def filled() -> WorkerTelemetry:
    """Return a telemetry after one call of each method."""
    telemetry = WorkerTelemetry()
    telemetry.consumed(["texts"])
    telemetry.stage("infer", 0.02)
    telemetry.batch(num_records=3, num_tokens=50, max_tokens=100, num_truncated=1, lane="live")
    telemetry.published(["embeddings", "labels"])
    telemetry.dead_letter("decode")
    telemetry.end_to_end("texts", [-5])
    telemetry.load(in_flight_tokens=7, num_waiting=2)
    telemetry.lag({("texts", 0): 5, ("texts", 1): 6})
    telemetry.load_gauges.show(
        lag_tokens={("texts", 0): 160.0}, seconds={("texts", 0): 2.5}, worker_seconds=2.5, capacity_per_s=64.0
    )
    telemetry.loop_lag(0.001)
    telemetry.started(version="1", model="m@1", device="cpu")
    telemetry.rebalance("assigned", ["texts-0"])
    telemetry.session_opened("texts-0", 5)
    telemetry.session_ended("texts-0", ValueError("why"))
    telemetry.retry("commit", ValueError("why"))
    telemetry.broker_event("unreadable_range", offset=3)
    telemetry.dead_letters({"decode: InvalidRecord: there is no `text`": 2})
    telemetry.dead_letters_held("texts", reason="decode: InvalidRecord: there is no `text`")
    telemetry.info("stopped")
    return telemetry


def test_every_metric_is_ours_explained_and_in_base_units() -> None:
    """Names follow the Prometheus conventions: a prefix, a help text, seconds and bytes, no type in the name."""
    exposition = generate_latest(filled().registry).decode()
    names = re.findall(r"^# HELP (\S+) (.+)$", exposition, re.MULTILINE)
    assert len(names) > 20
    for name, help_text in names:
        assert name.startswith(("gist_", "process_"))
        assert help_text.strip()
        assert not re.search(r"_(ms|milliseconds|counter|gauge)$", name)
        if "latency" in name or "duration" in name or name.endswith("loop_lag"):
            assert "_seconds" in name


def test_the_metrics_show_what_happened() -> None:
    """The page has counts, sums and current values; a latency is never negative."""
    exposition = generate_latest(filled().registry).decode()
    for line in (
        'gist_records_consumed_total{topic="texts"} 1.0',
        'gist_messages_published_total{output="labels"} 1.0',
        "gist_tokens_total 50.0",
        "gist_texts_truncated_total 1.0",
        "gist_batch_fill_ratio_sum 0.5",
        'gist_batch_budget_tokens{lane="live"} 100.0',
        'gist_end_to_end_latency_seconds_sum{topic="texts"} 0.0',
        "gist_in_flight_tokens 7.0",
        'gist_fetch_lag_records{partition="1",topic="texts"} 6.0',
        'gist_backlog_tokens{partition="0",topic="texts"} 160.0',
        'gist_backlog_drain_seconds{partition="0",topic="texts"} 2.5',
        "gist_worker_backlog_drain_seconds 2.5",
        "gist_capacity_tokens_per_second 64.0",
        'gist_build_info{device="cpu",model="m@1",version="1"} 1.0',
        'gist_step_retries_total{error="ValueError",stage="commit"} 1.0',
    ):
        assert line in exposition


def test_the_lag_of_a_partition_that_left_is_forgotten() -> None:
    """Two workers would otherwise report the lag of the same partition."""
    telemetry = filled()
    telemetry.lag({("texts", 1): 9})
    exposition = generate_latest(telemetry.registry).decode()
    assert 'gist_fetch_lag_records{partition="0"' not in exposition
    assert 'gist_fetch_lag_records{partition="1",topic="texts"} 9.0' in exposition


@pytest.mark.usefixtures("_logging_as_before")
def test_a_replica_names_itself_in_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of other libraries also have the number of the replica, because replicas share one stream."""
    configure_logging(level="info", log_format="json", replica=3)
    WorkerTelemetry().info("started")
    logging.getLogger("aiokafka").warning("hm")
    assert [json.loads(line)["replica"] for line in capsys.readouterr().err.splitlines()] == [3, 3]


@pytest.mark.usefixtures("_logging_as_before")
def test_log_lines_are_json_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line has a time, a level and an event; events of the worker have their fields."""
    configure_logging(level="info", log_format="json")
    filled()
    logging.getLogger("aiokafka.consumer").warning("lost %s", "something")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    ended = next(line for line in lines if line["event"] == "session_ended")
    assert (ended["partition"], ended["error"], ended["level"]) == ("texts-0", "why", "warning")
    assert all([*line][:3] == ["timestamp", "level", "event"] for line in lines)
    assert lines[-1]["event"] == "lost something"


@pytest.mark.usefixtures("_logging_as_before")
def test_a_terminal_gets_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal shows the same events as text."""
    configure_logging(level="warning", log_format="pretty")
    filled()
    shown = capsys.readouterr().err
    assert "session_ended" in shown
    assert "session_opened" not in shown


@pytest.mark.usefixtures("_logging_as_before")
def test_a_terminal_shows_values_without_brackets_and_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    """Enums, tuples, sets and dictionaries are printed as words."""
    configure_logging(level="info", log_format="pretty")
    WorkerTelemetry().started(
        version="1",
        model="m",
        device="cpu",
        tasks=[Task.EMBED, Task.NER],
        input=("a", "b"),
        threads={"matmul": 2},
        stage=Stage.INFER,
    )
    shown = capsys.readouterr().err
    assert not set("()[]{}<>'") & set(shown.partition("started")[2])
    for words in ("tasks=embed,ner", "input=a,b", "threads=matmul:2", "stage=infer"):
        assert words in shown


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize(("level", "is_shown"), [("info", False), ("debug", True)])
def test_steps_of_a_rebalance_in_the_client_are_shown_only_at_debug(
    level: str, capsys: pytest.CaptureFixture[str], *, is_shown: bool
) -> None:
    """Warnings of the client are shown at any level up to `warning`, except that a usual rebalance is no failure."""
    configure_logging(level=level, log_format="json")
    logging.getLogger("aiokafka.consumer").info("joining group")
    logging.getLogger("aiokafka.consumer").warning("lost the coordinator")
    logging.getLogger("aiokafka.consumer").warning("Heartbeat failed for group %s because it is rebalancing", "g")
    shown = capsys.readouterr().err
    assert "rebalancing" not in shown
    assert ("joining group" in shown) == is_shown
    assert "lost the coordinator" in shown


@pytest.mark.usefixtures("_logging_as_before")
def test_a_summary_is_logged_every_half_minute_in_which_a_record_was_read(capsys: pytest.CaptureFixture[str]) -> None:
    """The summary has records, their rate, the lag and the dead letters; an idle worker logs none."""
    configure_logging(level="info", log_format="json")
    telemetry = WorkerTelemetry()
    telemetry.progress(100.0)
    telemetry.consumed(["texts"] * 60)
    telemetry.dead_letter("decode")
    telemetry.lag({("texts", 0): 3, ("texts", 1): 4})
    for now_s in (129.9, 130.0, 159.9, 160.0, 190.0):
        telemetry.progress(now_s)
    (line,) = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    expected = {"event": "progress", "records": 60, "records_per_s": 2.0, "lag": 7, "dead_letters": 1}
    assert expected.items() <= line.items()


def test_no_metric_shows_the_time_of_its_creation() -> None:
    """The series `_created`, a third of the page, are left out."""
    assert "_created" not in generate_latest(filled().registry).decode()


@pytest.mark.usefixtures("_logging_as_before")
def test_kafkas_client_may_not_say_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """The log of the client has no payload at debug level, no password, and few repetitions."""
    configure_logging(level="debug", log_format="json")
    logger = logging.getLogger("aiokafka.producer")
    logger.debug("Sending (key=b'k' value=b'the text')")
    logger.warning("connect failed: sasl_plain_password='hush' user=me")
    for _ in range(100):
        logger.warning("broker is away")
    shown = capsys.readouterr().err
    assert "the text" not in shown
    assert "hush" not in shown
    assert 1 <= shown.count("broker is away") <= 10


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_a_traceback_of_a_library_shows_no_local_variable(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A text or a password may be a local variable."""
    configure_logging(level="info", log_format=log_format)

    def fail(text: str) -> None:
        raise ValueError(len(text))

    try:
        fail(log_format * 3)
    except ValueError:
        logging.getLogger("asyncio").exception("never retrieved")
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert log_format * 3 not in shown


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("password=hush", "password=***"),
        ("{'sasl_plain_password': 'hush', 'x': 1}", "{'sasl_plain_password': ***, 'x': 1}"),
        ('token: "hush" and more', "token: *** and more"),
        ("nothing here", "nothing here"),
    ],
)
def test_the_value_of_what_is_named_like_a_secret_is_taken_out(message: str, expected: str) -> None:
    """The rest of the message is unchanged."""
    assert redacted(message) == expected


def test_known_labels_have_a_sample_at_zero_before_anything_happens() -> None:
    """The stages, outputs and retried exceptions of the counters are those of the code."""
    assert set(known_labels.STAGES) == set(Stage)
    assert set(known_labels.OUTPUTS) == set(Output)
    assert set(known_labels.RETRIES) == {error.__name__ for error in (PublishFailed, ConsumerBroken, OffsetOutOfRange)}
    telemetry = WorkerTelemetry()
    telemetry.reads(["texts"])
    value = telemetry.registry.get_sample_value
    assert value("gist_dead_letters_total", {"stage": "decode"}) == 0
    assert value("gist_records_consumed_total", {"topic": "texts"}) == 0
    assert value("gist_partition_session_failures_total", {"reason": "PublishFailed"}) == 0
    assert value("gist_broker_events_total", {"event": "fetch_stuck"}) == 0

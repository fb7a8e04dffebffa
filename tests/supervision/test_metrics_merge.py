"""The merge of the metrics pages of all replicas."""

from __future__ import annotations

import pytest
import structlog
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.observability.test_metrics import filled
from worker.observability.metrics import WorkerTelemetry
from worker.supervision.metrics_merge import merged
from worker.supervision.telemetry import SupervisorTelemetry


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for f in text_string_to_metric_families(text)
        for sample in f.samples
    }


def test_every_sample_is_there_with_the_number_of_its_replica() -> None:
    """The merged page has no other samples, and describes each metric family once."""
    pages = {0: generate_latest(filled().registry).decode(), 1: generate_latest(WorkerTelemetry().registry).decode()}
    text = merged(pages).decode()
    expected = {(n, ls | {("replica", str(number))}): v for number, page in pages.items() for (n, ls), v in samples(page).items()}
    assert samples(text) == expected
    assert text.count("# TYPE gist_tokens_total counter") == 1
    assert 'gist_tokens_total{replica="0"} 50.0' in text
    assert 'gist_batch_fill_ratio_bucket{le="+Inf",replica="0"} 1.0' in text


def test_the_page_has_the_metrics_of_the_supervisor_too() -> None:
    """The page has the state of each replica and its number of restarts."""
    telemetry = SupervisorTelemetry()
    telemetry.started(1, 77)
    telemetry.ended(0, -9, lived_s=3.0)
    telemetry.restarting(0, -9, pause_s=1.0)
    text = merged({}, telemetry.registry.collect()).decode()
    assert 'gist_replica_up{replica="1"} 1.0' in text
    assert 'gist_replica_up{replica="0"} 0.0' in text
    assert 'gist_replica_restarts_total{how="SIGKILL",replica="0"} 1.0' in text


def test_the_log_says_in_words_how_a_replica_ended() -> None:
    with structlog.testing.capture_logs() as lines:
        telemetry = SupervisorTelemetry()
        telemetry.ended(0, 0, lived_s=3.0)
        telemetry.restarting(1, -9, pause_s=1.0)
    assert [line["how"] for line in lines] == ["exit status 0", "signal SIGKILL"]


def test_a_page_that_is_no_exposition_is_refused() -> None:
    """A sample whose value is not a number raises `ValueError`."""
    with pytest.raises(ValueError, match="could not convert"):
        merged({0: "gist_tokens_total many\n"})

"""The metrics for autoscalers."""

from __future__ import annotations

from prometheus_client import generate_latest

from worker.observability.metrics import WorkerTelemetry


def test_a_speed_that_is_not_known_yet_is_not_shown() -> None:
    """A zero would mean an empty backlog or no capacity; a known value stays."""
    telemetry = WorkerTelemetry()
    telemetry.load_gauges.show(lag_tokens={("texts", 0): 5.0}, seconds={}, worker_seconds=None, capacity_per_s=None)
    exposition = generate_latest(telemetry.registry).decode()
    assert "gist_backlog_tokens{" in exposition
    assert "gist_backlog_drain_seconds{" not in exposition
    assert "gist_worker_backlog_drain_seconds" not in exposition
    for _ in range(2):
        telemetry.load_gauges.show(lag_tokens={}, seconds={}, worker_seconds=0.0, capacity_per_s=9.0)
    exposition = generate_latest(telemetry.registry).decode()
    assert "gist_worker_backlog_drain_seconds 0.0" in exposition
    assert "gist_backlog_tokens{" not in exposition

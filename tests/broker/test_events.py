"""The events of the broker package."""

from __future__ import annotations

from worker.broker.events import BrokerEvent
from worker.observability.known_labels import BROKER_EVENTS


def test_each_event_has_a_sample_at_zero() -> None:
    assert set(BROKER_EVENTS) == set(BrokerEvent)

"""What is read next, given what is in flight."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from tests.makers import OPTIONS
from worker.flow.backpressure import Backpressure
from worker.records import Partition

if TYPE_CHECKING:
    from worker.flow.assignment import Assignment

LIVE, OTHER, OLD = Partition("texts", 0), Partition("texts", 1), Partition("old", 0)


class Weights:
    """Stands for an assignment: partitions with so many tokens in flight."""

    def __init__(self, **tokens: int) -> None:
        self.of = {LIVE: tokens.get("live", 0), OTHER: tokens.get("other", 0), OLD: tokens.get("old", 0)}

    @property
    def weight(self) -> int:
        """Add everything up."""
        return sum(self.of.values())

    def get_weight(self, topic: str) -> int:
        """Add a topic up."""
        return sum(tokens for partition, tokens in self.of.items() if partition.topic == topic)

    def list_partitions_below(self, max_weight: int) -> list[Partition]:
        """Return the lighter ones."""
        return [partition for partition, tokens in self.of.items() if tokens <= max_weight]


def watching(weights: Weights, *, backfill_topic: str | None = None) -> Backpressure:
    """Return the gauge over such weights, with bounds of 1,000 and 2,000 tokens."""
    options = replace(OPTIONS, backfill_topic=backfill_topic, max_poll_records=500)
    return Backpressure(cast("Assignment", weights), options)


def test_polling_stops_above_the_maximum_and_resumes_at_the_lower_limit() -> None:
    """Between the two limits the state stays."""
    weights = Weights()
    gauge = watching(weights)
    for live, other, is_reading in (
        (1_000, 900, True),
        (1_000, 1_001, False),
        (1_000, 500, False),
        (500, 500, True),
        (900, 900, True),
    ):
        weights.of.update({LIVE: live, OTHER: other})
        assert bool(gauge.next_poll()[0]) is is_reading


def test_one_partition_has_at_most_half_of_the_tokens() -> None:
    """The other partitions are polled."""
    assert watching(Weights(live=1_001)).next_poll() == ([OTHER, OLD], 500)


def test_backfill_has_at_most_a_quarter_of_the_tokens_and_small_polls() -> None:
    """Above the quarter live records are polled with the usual maximum."""
    assert watching(Weights(old=500), backfill_topic="old").next_poll() == ([LIVE, OTHER, OLD], 64)
    assert watching(Weights(old=501), backfill_topic="old").next_poll() == ([LIVE, OTHER], 500)


def test_without_a_backfill_topic_all_topics_have_the_same_limit() -> None:
    assert watching(Weights(old=999)).next_poll() == ([LIVE, OTHER, OLD], 500)

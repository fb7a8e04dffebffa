"""The events that the broker package reports: each is counted in `gist_broker_events_total` and logged."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class BrokerEvent(StrEnum):
    """The names of the events."""

    #: The brokers offer the consumer protocol, but its session timeout is too long for the worker.
    CLASSIC_PROTOCOL_USED = "classic_protocol_used"
    #: The log no longer contains the committed offset of a partition.
    COMMITTED_OFFSET_OUT_OF_RANGE = "committed_offset_out_of_range"
    #: aiokafka raised an exception in place of records; the worker fetches them again.
    FETCH_FAILED = "fetch_failed"
    #: aiokafka does not fetch, although there are records to read.
    FETCH_STUCK = "fetch_stuck"
    #: Another member of the group has the instance id; the worker joins once the id is free.
    INSTANCE_ID_IN_USE = "instance_id_in_use"
    #: The coordinator of the group does not know whether an offset was committed; the worker has found out.
    OFFSET_HANGS = "offset_hangs"
    #: An output topic has a hanging transaction; the worker ends it.
    OUTPUTS_HANG = "outputs_hang"
    #: The output topics could not be described; the last description remains in use.
    OUTPUTS_NOT_DESCRIBED = "outputs_not_described"
    #: A batch cannot be read; its offsets become one dead letter.
    UNREADABLE_RANGE = "unreadable_range"


class OnEvent(Protocol):
    """Receives the events."""

    def __call__(self, event: BrokerEvent, **fields: object) -> None:
        """Record an event and its fields, without blocking."""

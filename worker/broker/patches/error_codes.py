"""Patch: every error code keeps its number, and the codes that the worker acts on have a class.

aiokafka: turns each code that it does not know into `UnknownError` with the number -1.
Why it matters: the worker could not tell a refused record (INVALID_RECORD) from a fault of the broker, and the log
would hide the code.
Reference: https://kafka.apache.org/protocol#protocol_error_codes
Needed until: `tests/broker/patches/test_error_codes.py::test_aiokafka_does_not_know_the_codes_that_the_worker_acts_on` fails.
"""

from __future__ import annotations

from typing import Any

import aiokafka.errors
from aiokafka.errors import BrokerResponseError


class GroupMaxSizeReached(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """The group has as many members as the broker allows."""

    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"


class FencedInstanceId(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """Another process has joined the group with the same `group.instance.id`."""

    errno = 82
    message = "FENCED_INSTANCE_ID"


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """The topic refuses the record: for example, a compacted topic refuses a record without a key."""

    errno = 87
    message = "INVALID_RECORD"


class UnknownCode(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """An error code without a class. By the rules of Kafka such an error is not retriable."""


# Codes that a broker may return for the requests of aiokafka, with the name and whether Kafka marks the error as retriable.
_NAMES = {
    74: ("FencedLeaderEpoch", True),
    75: ("UnknownLeaderEpoch", True),
    76: ("UnsupportedCompressionType", False),
    77: ("StaleBrokerEpoch", False),
    78: ("OffsetNotAvailable", True),
    86: ("GroupSubscribedToTopic", False),
    88: ("UnstableOffsetCommit", True),
    89: ("ThrottlingQuotaExceeded", True),
    90: ("ProducerFencedByBroker", False),
    100: ("UnknownTopicId", True),
    103: ("InconsistentTopicId", True),
    105: ("TransactionalIdNotFound", False),
    107: ("IneligibleReplica", False),
    109: ("OffsetMovedToTieredStorage", False),
    110: ("FencedMemberEpoch", False),
    111: ("UnreleasedInstanceId", False),
    112: ("UnsupportedAssignor", False),
    113: ("StaleMemberEpoch", False),
    116: ("UnknownControllerId", False),
    120: ("TransactionAbortable", False),
}


class _Codes(dict[int, Any]):
    """The error classes by code. A code without a class gets one that carries the number."""

    def get(self, code: int, _default: object = None) -> Any:
        """Return the class of a code."""
        if code not in self:
            self[code] = type("UnknownCode", (UnknownCode,), {"errno": code, "message": f"UNKNOWN_CODE_{code}"})
        return self[code]


def patch_error_codes() -> None:
    """Replace the table of error classes in this process. A second call has no effect."""
    if isinstance(aiokafka.errors.kafka_errors, _Codes):
        return
    codes = _Codes(aiokafka.errors.kafka_errors)
    codes |= {error.errno: error for error in (GroupMaxSizeReached, FencedInstanceId, InvalidRecordError)}
    codes |= {
        code: type(name, (BrokerResponseError,), {"errno": code, "message": name, "retriable": is_retriable})
        for code, (name, is_retriable) in _NAMES.items()
    }
    aiokafka.errors.kafka_errors = codes

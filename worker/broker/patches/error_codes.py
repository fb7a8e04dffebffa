"""The error codes of Kafka's protocol that Kafka's client does not know: each gets its name, or at least keeps its number.

The client turns every code that it does not know into `UnknownError` with the number -1, which hides what the broker answered.
Names and numbers: https://kafka.apache.org/protocol#protocol_error_codes
"""

from __future__ import annotations

from typing import Any

import aiokafka.errors
from aiokafka.errors import BrokerResponseError


class GroupMaxSizeReached(BrokerResponseError):  # type: ignore[misc]  # the client ships no types
    """The group has as many members as the broker allows."""

    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"


class FencedInstanceId(BrokerResponseError):  # type: ignore[misc]  # the same
    """Another process has joined the group with the same `group.instance.id`."""

    errno = 82
    message = "FENCED_INSTANCE_ID"


class InvalidRecord(BrokerResponseError):  # type: ignore[misc]  # the same
    """The topic refuses the record, such as one without a key where the topic is compacted."""

    errno = 87
    message = "INVALID_RECORD"


class UnknownCode(BrokerResponseError):  # type: ignore[misc]  # the same
    """A code that neither the client nor this module knows. Kafka's rule: such an error is not retriable."""


# Codes that a broker may answer to the requests of the client, by number: the name, and whether Kafka calls the error retriable.
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
    """The client's table of error classes by code, in which every code is found."""

    def get(self, code: int, _default: object = None) -> Any:
        """Return the class of a code; a code without one gets a class that carries the number."""
        if code not in self:
            self[code] = type("UnknownCode", (UnknownCode,), {"errno": code, "message": f"UNKNOWN_CODE_{code}"})
        return self[code]


def patch_error_codes() -> None:
    """Let every client of this process name all codes; a second call has no effect."""
    if isinstance(aiokafka.errors.kafka_errors, _Codes):
        return
    codes = _Codes(aiokafka.errors.kafka_errors)
    codes |= {it.errno: it for it in (GroupMaxSizeReached, FencedInstanceId, InvalidRecord)}
    codes |= {
        code: type(name, (BrokerResponseError,), {"errno": code, "message": name, "retriable": is_retriable})
        for code, (name, is_retriable) in _NAMES.items()
    }
    aiokafka.errors.kafka_errors = codes

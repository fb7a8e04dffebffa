"""Kafka's frames as a proxy sees them, and the faults that may be applied to them. Pure, except `read_frame`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import IntEnum, StrEnum

# A frame begins with its length.
_LENGTH_BYTES = 4


class Kind(IntEnum):
    """Kinds of requests by their key in the protocol; other kinds have only a number."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28
    CONSUMER_GROUP_HEARTBEAT = 68


class Action(StrEnum):
    """A fault of a request, or of its answer."""

    #: The request waits before the broker, and with it what follows on its connection; it arrives late, even if the client is gone.
    HOLD = "hold"
    #: The broker's answer does not arrive; the connection stays open.
    SWALLOW = "swallow"
    #: Half of the answer arrives, and the connection breaks.
    CUT = "cut"
    #: The connection breaks before the request reaches the broker.
    DROP = "drop"
    #: The connection breaks when the broker has answered: it was done, and nobody knows.
    DROP_ANSWER = "drop_answer"


@dataclass(slots=True)
class Rule:
    """A fault that is applied to the next `count` requests of a kind."""

    kind: Kind
    action: Action
    #: How long a request is held, in seconds.
    seconds: float = 0.0
    #: To how many it happens still.
    left: int = 1
    #: Only to requests that hold these bytes: a topic, a transactional id.
    containing: bytes = b""
    #: How often it happened.
    num_applied: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """A frame to the broker, with its length."""

    frame: bytes

    @property
    def kind(self) -> int:
        """The key of the request's kind."""
        return int.from_bytes(self.frame[4:6])

    @property
    def correlation_id(self) -> int:
        """The number that the answer repeats."""
        return int.from_bytes(self.frame[8:12])


@dataclass(slots=True)
class Conditions:
    """The present state of the network."""

    request_delay_s: float = 0.0
    answer_delay_s: float = 0.0
    #: Bytes wait until it heals, as TCP would repeat them.
    stalls_requests: bool = False
    stalls_answers: bool = False
    #: Bytes vanish; when it heals the connections that lost some break.
    loses_requests: bool = False
    loses_answers: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame from the broker, with its length."""

    frame: bytes

    @property
    def correlation_id(self) -> int:
        """The number of the answered request."""
        return int.from_bytes(self.frame[4:8])


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next frame with its length; None if the connection is closed."""
    try:
        length = await reader.readexactly(_LENGTH_BYTES)
        return length + await reader.readexactly(int.from_bytes(length))
    except (asyncio.IncompleteReadError, OSError):
        return None

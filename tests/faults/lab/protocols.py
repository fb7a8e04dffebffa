"""The protocol by which the workers of a scenario share the partitions."""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from tests.faults.lab.oracle import Mode

Protocol = Literal["classic", "consumer"]


def choose_protocol(scenario: str, mode: Mode, seed: int) -> Protocol:
    """Return the protocol that PROTOCOL names; without it, one for each mode, which the next seed swaps."""
    protocols: tuple[Protocol, ...] = get_args(Protocol)
    forced = next((name for name in protocols if name == os.environ.get("PROTOCOL")), None)
    return forced or protocols[(seed + zlib.crc32(scenario.encode()) + (mode == "exactly_once")) % 2]

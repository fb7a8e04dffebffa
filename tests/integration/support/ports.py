"""Ports at which no other process listens.

They lie below those that the system gives to outgoing connections, one of which could take a port before its server starts, or
while it starts again; a client that tries again and again to reach a dead one could even get itself as its server.
"""

from __future__ import annotations

import contextlib
import random
import socket

_PORTS = range(10_000, 32_768)


def free_port() -> int:
    """Return a port that is free now."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                break
    return found

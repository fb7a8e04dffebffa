"""Server-Sent Events for several browsers. A slow browser loses its oldest events and delays no other."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


def format_event(name: str, value: Any) -> bytes:
    """Return one event of the protocol; JSON has no line break, so one line holds the value."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(value))


class Subscription:
    """The events that one browser has not received yet."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._events: deque[bytes] = deque()
        self._max_events, self._max_bytes = max_events, max_bytes
        self._num_bytes = 0
        self._arrived = asyncio.Event()

    def put(self, event: bytes) -> None:
        """Add an event. The oldest events are dropped if the queue is full."""
        self._events.append(event)
        self._num_bytes += len(event)
        while len(self._events) > self._max_events or (self._num_bytes > self._max_bytes and len(self._events) > 1):
            self._num_bytes -= len(self._events.popleft())
        self._arrived.set()

    async def take(self) -> bytes:
        """Wait for events and return all of them."""
        await self._arrived.wait()
        self._arrived.clear()
        events = b"".join(self._events)
        self._events.clear()
        self._num_bytes = 0
        return events


class EventHub:
    """Sends each event to every subscription."""

    def __init__(self, *, max_events: int = 64, max_bytes: int = 16 << 20, max_subscriptions: int = 32) -> None:
        """Bound the waiting events of each subscription by number and bytes, and the number of subscriptions."""
        self._max_events, self._max_bytes = max_events, max_bytes
        self._max_subscriptions = max_subscriptions
        self._subscriptions: set[Subscription] = set()

    def __len__(self) -> int:
        """Return the number of subscriptions."""
        return len(self._subscriptions)

    @property
    def is_full(self) -> bool:
        """Whether no further browser is accepted."""
        return len(self._subscriptions) >= self._max_subscriptions

    def publish(self, name: str, value: Any) -> None:
        """Send an event to every subscription, without waiting. Without subscriptions nothing is encoded."""
        if self._subscriptions:
            event = format_event(name, value)
            for subscription in self._subscriptions:
                subscription.put(event)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Yield a subscription, which ends with the block."""
        subscription = Subscription(self._max_events, self._max_bytes)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

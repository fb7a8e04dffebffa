"""Events for several browsers."""

from __future__ import annotations

from worker.console.event_hub import EventHub


async def test_a_slow_browser_loses_its_oldest_events_only() -> None:
    """A queue keeps the newest events within its bound, and another browser misses none."""
    hub = EventHub(max_events=3)
    with hub.subscribe() as slow, hub.subscribe() as fast:
        received = b""
        for number in range(10):
            hub.publish("n", number)
            received += await fast.take()
        assert received.count(b"event: n\n") == 10
        assert await slow.take() == b"".join(b"event: n\ndata: %d\n\n" % number for number in (7, 8, 9))
    assert len(hub) == 0


async def test_waiting_events_are_bounded_in_bytes() -> None:
    """A browser that reads nothing holds no more than the bound, or one event."""
    hub = EventHub(max_bytes=3_000)
    with hub.subscribe() as slow:
        for size in (1_000, 1_000, 1_000, 2_000):
            hub.publish("n", "a" * size)
        assert 2_000 < len(await slow.take()) < 3_100
        hub.publish("n", "a" * 5_000)
        assert len(await slow.take()) > 5_000


async def test_an_event_is_one_line_of_data() -> None:
    """A line break in a text does not end the event."""
    hub = EventHub()
    with hub.subscribe() as browser:
        hub.publish("n", {"text": "a\nb"})
        assert await browser.take() == b'event: n\ndata: {"text":"a\\nb"}\n\n'


def test_the_number_of_browsers_is_bounded() -> None:
    """A full hub reports that no further browser is accepted."""
    hub = EventHub(max_subscriptions=1)
    assert not hub.is_full
    with hub.subscribe():
        assert hub.is_full

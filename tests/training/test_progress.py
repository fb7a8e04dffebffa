"""What a person sees of what takes long."""

from __future__ import annotations

import io

from rich.console import Console

from worker.training.progress import Bars, Lines, build_reporter


def test_lines_are_written_now_and_then() -> None:
    """With an interval of 0 each step has a line; with a long interval no step has one."""
    told: list[str] = []
    for interval in (0.0, 1e9):
        with Lines(told.append, interval_s=interval).track("texts", 2000) as advance:
            advance(1500)
            advance(500)
    Lines(told.append).say("done")
    assert told == ["texts: 1,500 of 2,000", "texts: 2,000 of 2,000", "done"]


def test_a_terminal_sees_a_bar_and_the_lines() -> None:
    """A line that is written during the bar is shown literally."""
    shown = io.StringIO()
    bars = Bars(Console(file=shown, force_terminal=True, width=80))
    with bars.track("texts", 4) as advance:
        bars.say("a [line]")
        advance(4)
    assert "texts" in shown.getvalue()
    assert "a [line]" in shown.getvalue()


def test_a_pipe_gets_lines() -> None:
    """Each message is a line of its own."""
    stream = io.StringIO()
    build_reporter(stream).say("one")
    assert stream.getvalue() == "one\n"

"""Contestants as children: asked once, answering once, and never outliving us."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from worker.bench.stream import children
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ECHO = """
from worker.bench.stream import children
asked = children.question()
print('noise')
children.answer({'got': asked['word']})
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Give the writer of a module that a child can run as `contestant`."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(it for it in sys.path if it)}")
    return (tmp_path / "contestant.py").write_text


async def test_a_question_is_answered(write: Callable[[str], object]) -> None:
    """On the last line, whatever else is printed."""
    write(ECHO)
    assert await children.ask("contestant", {"word": "hello"}) == {"got": "hello"}


async def test_a_child_that_fails_is_a_bad_model_with_its_last_words(write: Callable[[str], object]) -> None:
    """So that one sees why."""
    write("raise RuntimeError('no such kernel')")
    with pytest.raises(BadModel, match="no such kernel"):
        await children.ask("contestant", {})


async def test_a_child_ends_with_the_question(write: Callable[[str], object]) -> None:
    """When whoever asks is cancelled."""
    write("import time\ntime.sleep(600)\n")
    asking = asyncio.create_task(children.ask("contestant", {}))
    while not _contestants():
        await asyncio.wait([asking], timeout=0.05)
    asking.cancel()
    await asyncio.wait([asking])
    assert not _contestants()


def _contestants() -> list[psutil.Process]:
    return [it for it in psutil.Process().children() if "contestant" in it.cmdline()]

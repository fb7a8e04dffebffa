"""A child process: one question, one answer, and no process afterwards."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from worker.bench.stream import child_process
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ECHO = """
from worker.bench.stream import child_process
question = child_process.read_question()
print('noise')
child_process.write_answer({'got': question['word']})
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Return a function that writes the module `candidate`."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(filter(None, sys.path))}")
    return (tmp_path / "candidate.py").write_text


async def test_a_question_is_answered(write: Callable[[str], object]) -> None:
    """The answer is the last line; other output is ignored."""
    write(ECHO)
    assert await child_process.ask("candidate", {"word": "hello"}) == {"got": "hello"}


async def test_a_failure_is_a_bad_model(write: Callable[[str], object]) -> None:
    """`BadModel` includes the stderr of the child."""
    write("raise RuntimeError('no such kernel')")
    with pytest.raises(BadModel, match="no such kernel"):
        await child_process.ask("candidate", {})


async def test_cancelling_kills_the_child(write: Callable[[str], object]) -> None:
    """No process remains."""
    write("import time\ntime.sleep(600)\n")
    asking = asyncio.create_task(child_process.ask("candidate", {}))
    while not _candidates():
        await asyncio.wait([asking], timeout=0.05)
    asking.cancel()
    await asyncio.wait([asking])
    assert not _candidates()


def _candidates() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "candidate" in child.cmdline()]

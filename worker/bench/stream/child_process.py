"""Runs a candidate in a process of its own: one JSON question on standard input, one JSON answer on standard output."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Mapping

_NUM_ERROR_CHARACTERS = 1_000


async def ask(module: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module in a process and return its answer; raises `BadModel` with the end of its stderr if it fails.

    Cancelling kills the process.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # This process handles Ctrl-C and ends the child.
        start_new_session=True,
    )
    try:
        output, errors = await child.communicate(orjson.dumps(question))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise BadModel(f"{module} failed: {errors.decode(errors='replace')[-_NUM_ERROR_CHARACTERS:]}")
    answer: dict[str, Any] = orjson.loads(output.splitlines()[-1])
    return answer


def read_question() -> dict[str, Any]:
    """Return the question, in the child."""
    question: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    return question


def write_answer(content: Mapping[str, Any]) -> None:
    """Write the answer as the last line of standard output, in the child."""
    sys.stdout.buffer.write(b"\n" + orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    sys.stdout.buffer.flush()

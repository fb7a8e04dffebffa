"""Contestants run in processes of their own, one at a time: asked by JSON on standard input, answering so on standard output."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Mapping

_LAST_WORDS = 1_000


async def ask(module: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """Run a module in a process and return its answer; raises `BadModel` with its last words if it fails. Cancelling kills it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Ctrl-C is for us to hear; we end our children.
        start_new_session=True,
    )
    try:
        said, complaints = await child.communicate(orjson.dumps(question))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise BadModel(f"{module} failed: {complaints.decode(errors='replace')[-_LAST_WORDS:]}")
    answer: dict[str, Any] = orjson.loads(said.splitlines()[-1])
    return answer


def question() -> dict[str, Any]:
    """Return what this child was asked."""
    asked: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    return asked


def answer(content: Mapping[str, Any]) -> None:
    """Answer, on the last line of standard output."""
    sys.stdout.buffer.write(b"\n" + orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    sys.stdout.buffer.flush()

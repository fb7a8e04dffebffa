"""The end of the demo."""

from __future__ import annotations

import sys

import pytest

from worker.commands.demo.demo import describe_next_steps
from worker.settings import read


@pytest.mark.parametrize(("is_kept", "command"), [(False, "demo --keep"), (True, "produce")])
def test_the_next_steps_need_no_checkout(is_kept: bool, command: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """The commands are those of the started program, also where there is no Makefile."""
    monkeypatch.setattr(sys, "argv", ["/venv/bin/gist-stream", "demo"])
    shown = describe_next_steps(read({}), is_kept=is_kept)
    assert f"/venv/bin/gist-stream {command}" in shown
    assert "make " not in shown

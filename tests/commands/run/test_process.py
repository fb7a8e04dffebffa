"""The start of a worker process, in which the model loads while other modules are imported."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from worker.errors import BadModel

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_model_and_an_unreachable_broker_are_one_line(tmp_path: Path) -> None:
    """The first failure ends the worker with its own exit code."""
    settings = {"MODEL": str(tmp_path / "missing"), "BOOTSTRAP_SERVERS": "127.0.0.1:1", "HTTP_PORT": "0", "LOG_LEVEL": "error"}
    environment = os.environ | {f"GIST_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-P", "-m", "worker", "run"]
    ended = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr.count("\n")) == (BadModel.exit_code, 1)
    assert "missing: no such directory" in ended.stderr

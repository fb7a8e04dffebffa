"""OpenVINO reports nothing to its vendor."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.watching import addresses, whole_environment

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("openvino", reason="the extra openvino is not installed")
BENCH = """
import sys, torch
from worker.bench.engine.candidates import baselines as peers
converted = peers.import_openvino().convert_model(torch.nn.Linear(2, 2), example_input=torch.ones(1, 2))
"""


@pytest.mark.model
def test_importing_openvino_opens_no_connection(tmp_path: Path) -> None:
    """The peer of the benchmark asks for no address."""
    subprocess.run([sys.executable, "-c", BENCH], env=whole_environment(tmp_path), check=True, timeout=120)
    assert addresses(tmp_path) == set()
    assert list(tmp_path.glob("**/openvino_ga_cid")) == []


def test_the_watch_sees_a_connection_of_a_child(tmp_path: Path) -> None:
    """A test of the test: what a forked process asks for is noted."""
    program = "import os, socket; os.fork() or socket.getaddrinfo('127.0.0.1', 9)"
    subprocess.run([sys.executable, "-c", program], env=whole_environment(tmp_path), check=True, timeout=60)
    assert addresses(tmp_path) == {("127.0.0.1", "9")}

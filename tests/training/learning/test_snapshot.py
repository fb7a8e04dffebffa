"""Snapshots: a process that is killed loses no more than its epoch, and what comes out is the same to the last bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from tests.training.runs import Silent, build_run, learned
from worker.errors import BadSettings
from worker.training.learning.snapshot import Position, Snapshots

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
# Learns until it has come to where it waits to be killed, and says so.
_PROGRAM = """
import sys
from pathlib import Path
from tests.training.runs import Silent, learned, build_run
from worker.training.learning.snapshot import Snapshots

directory, strategy, where = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def wait():
    print("waiting", flush=True)
    sys.stdin.read()

class Waiting(Snapshots):
    def write(self, position, tensors):
        super().write(position, tensors)
        if where == f"after {position.phase}.{position.epoch}":
            wait()

class Teller(Silent):
    def say(self, line):
        if where == f"before {line[:7]}":
            wait()

learned(build_run(directory, strategy, retention_weight=2.0), snapshots=Waiting(directory, "same"), reporter=Teller())
"""


@pytest.mark.parametrize(("strategy", "where"), [("end-to-end", "before epoch 2"), ("then-freeze", "after 1.1")])
def test_a_killed_run_ends_with_the_weights_that_it_would_have_had(tmp_path: Path, strategy: str, where: str) -> None:
    """The run is killed before a snapshot, or between two epochs of a later phase."""
    expected = learned(build_run(tmp_path, strategy, retention_weight=2.0)).learner.state_dict()
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path), strategy, where]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"waiting\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    told = Silent()
    found = learned(build_run(tmp_path, strategy, retention_weight=2.0), snapshots=Snapshots(tmp_path, "same"), reporter=told)
    assert told.lines[0].startswith("going on after epoch")
    assert sum(line.startswith("epoch") for line in told.lines) < len(found.position.history)
    assert {name for name, entry in found.learner.state_dict().items() if not torch.equal(entry, expected[name])} == set()


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    """A run with other settings or data cannot continue from the snapshot."""
    Snapshots(tmp_path, "one").write(Position(epoch=1), {"learner": {"a": torch.ones(2)}})
    state = Snapshots(tmp_path, "one").read()
    assert state is not None
    assert (state.position.epoch, state.tensors["learner"]["a"].tolist()) == (1, [1.0, 1.0])
    with pytest.raises(BadSettings, match=r"had other settings or data; --fresh starts again"):
        Snapshots(tmp_path, "other").read()


def test_a_damaged_state_is_one_line(tmp_path: Path) -> None:
    """The error names the flag that starts the run again."""
    snapshots = Snapshots(tmp_path, "one")
    assert snapshots.read() is None
    snapshots.write(Position(), {})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadSettings, match=r"not the state of a run .*--fresh starts again"):
        snapshots.read()
    snapshots.remove()
    assert snapshots.read() is None

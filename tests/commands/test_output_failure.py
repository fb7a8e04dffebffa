"""Standard output that cannot be written: a full disk, a closed pipe, a closed descriptor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.commands.output_failure import describe_output_failures

# What a command writes at once, what it leaves in Python's buffer, and what its console writes.
WRITERS = [["version"], ["data", "labels.jsonl", "--json"], ["--help"]]
# Where nobody reads, and every write fails.
FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a directory with a file of labels."""
    (tmp_path / "labels.jsonl").write_text('{"text": "good", "label": "positive"}\n')
    monkeypatch.chdir(tmp_path)


def run(arguments: list[str], redirection: str, *, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with its streams redirected by a shell."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    command = f'exec "$0" -P -m worker "$@" {redirection}'
    shell = ["/bin/sh", "-c", command, sys.executable, *arguments]
    return subprocess.run(shell, check=False, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", WRITERS)
def test_a_full_disk_is_one_line(arguments: list[str], unbuffered: str) -> None:
    """The line names standard output and the reason, and the exit code is 1, with and without buffering."""
    ended = run(arguments, "> /dev/full", unbuffered=unbuffered)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith("gist-stream: standard output")
    assert "No space left on device" in ended.stderr


@pytest.mark.parametrize("arguments", WRITERS)
def test_a_reader_that_has_gone_ends_a_command_in_silence(arguments: list[str]) -> None:
    """The exit code is 1 after the reader, such as `head`, closes the pipe."""
    command = [sys.executable, "-P", "-m", "worker", *arguments]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 1)


@pytest.mark.parametrize("arguments", WRITERS)
def test_a_closed_standard_output_takes_everything(arguments: list[str]) -> None:
    """The exit code is 0."""
    ended = run(arguments, ">&-")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-", "> /dev/full 2>&1", ">&- 2>&-"])
def test_a_standard_error_that_takes_nothing_leaves_the_exit_code(redirection: str) -> None:
    """The exit code is that of the user's mistake."""
    assert run(["data", "nowhere.csv"], redirection).returncode == 2


def test_an_error_of_another_file_is_raised() -> None:
    with pytest.raises(FileNotFoundError), describe_output_failures():
        Path("nowhere.csv").read_text()

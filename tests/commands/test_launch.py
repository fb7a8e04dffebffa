"""Only installed code runs, with any files in the current folder or in PYTHONPATH."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker.supervision.core_sharing import Share
from worker.supervision.replica import Replica
from worker.testbed.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FOREIGN_CODE = 97
LAUNCH = "import gist_stream; gist_stream.main()"


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with modules that end the process, with names of this package and of Python."""
    for name in ("worker", "schemas", "signal", "typer", "aiokafka"):
        (tmp_path / f"{name}.py").write_text(f"import os; os._exit({FOREIGN_CODE})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIST_MODEL", "./nowhere")
    monkeypatch.setenv("GIST_HTTP_PORT", "0")
    return tmp_path


@pytest.mark.usefixtures("hostile")
async def test_a_replica_runs_the_installed_worker() -> None:
    """The exit code is that of a missing model, not that of the module in the current folder."""
    replica = Replica(0, Share(1), socket=Path("0.sock"), environment=os.environ)
    await replica.start()
    assert await replica.wait() == 5


@pytest.mark.usefixtures("hostile")
def test_the_demo_runs_the_installed_worker(tmp_path: Path) -> None:
    """The exit code is that of a missing model."""
    worker = WorkerProcess({}, tmp_path / "log")
    assert worker.process.wait(60) == 5, (tmp_path / "log").read_text()


def test_no_interpreter_is_started_with_the_current_folder_in_its_path() -> None:
    """Each `-m` and `-c` in the arguments of a Python process is after `-P`."""
    files = [*(ROOT / "worker").rglob("*.py"), *(ROOT / ".ci").glob("*.py"), *(ROOT / "deploy").rglob("*.py")]
    assert not [f"{file}: {found}" for file in files for found in unsafe_arguments(ast.parse(file.read_text()))]
    assert [*unsafe_arguments(ast.parse('["python", "-m", "worker"]'))] == ["['python', '-m', 'worker']"]


def unsafe_arguments(tree: ast.Module) -> Iterator[str]:
    """Yield each list and tuple with `-m` or `-c` and without `-P` before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple):
            written = [ast.unparse(part) for part in node.elts]
            for before, part in zip(["", *written], written, strict=False):
                is_python = "sys.executable" in written or written[0].endswith(("-m'", "-P'", "python'"))
                if part in {"'-m'", "'-c'"} and before != "'-P'" and is_python:
                    yield ast.unparse(node)


def launch(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Run `gist-stream version` in a folder, with a value of PYTHONPATH."""
    command, environment = [sys.executable, "-P", "-c", LAUNCH, "version"], os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["worker", "schemas"])
@pytest.mark.parametrize("is_package", [False, True])
def test_a_module_that_hides_ours_is_named_in_one_line(tmp_path: Path, name: str, *, is_package: bool) -> None:
    """A foreign module in a folder of PYTHONPATH ends the command with 2, and its code does not run."""
    file = tmp_path / name / "__init__.py" if is_package else tmp_path / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"import os; os._exit({FOREIGN_CODE})\n")
    ended = launch(tmp_path, str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"gist-stream: PYTHONPATH: another module named {name} precedes ours: {file}")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("path", [":", ".", "./.", ":/nowhere", "/nowhere::"])
@pytest.mark.parametrize("name", ["worker", "schemas", "pathlib", "typer", "signal"])
def test_the_current_folder_is_not_in_the_path(tmp_path: Path, name: str, path: str) -> None:
    """An empty or relative entry of PYTHONPATH for the current folder is dropped: modules in the folder do not run."""
    (tmp_path / f"{name}.py").write_text(f"import os; os._exit({FOREIGN_CODE})\n")
    assert launch(tmp_path, path).returncode == 0


def test_child_processes_do_not_have_the_current_folder_in_their_path(tmp_path: Path) -> None:
    """PYTHONPATH of child processes, such as replicas, has the other entries."""
    program = "import gist_stream, os; print(os.environ.get('PYTHONPATH'))"
    for path, expected in ((":", "None"), ("/nowhere::.", "/nowhere"), (str(tmp_path), str(tmp_path))):
        environment = os.environ | {"PYTHONPATH": path}
        command = [sys.executable, "-P", "-c", program]
        ended = subprocess.run(command, check=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.stdout == f"{expected}\n"


def test_other_folders_in_pythonpath_are_accepted(tmp_path: Path) -> None:
    """A folder without code, and the folder of this package, hide no module."""
    (tmp_path / "worker").mkdir()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ended = subprocess.run([sys.executable, "-P", "-c", LAUNCH, "version"], check=False, env=environment)
    assert ended.returncode == 0

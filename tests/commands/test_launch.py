"""What starts a process of ours: only our code is run, whatever lies in the current folder or in PYTHONPATH."""

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
    """Change to a folder with modules that end the process, called like ours and like some of Python's."""
    for name in ("worker", "schemas", "signal", "typer", "aiokafka"):
        (tmp_path / f"{name}.py").write_text(f"import os; os._exit({FOREIGN_CODE})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIST_MODEL", "./nowhere")
    return tmp_path


@pytest.mark.usefixtures("hostile")
async def test_a_replica_runs_our_worker() -> None:
    """The exit code is that of a model that is not there, not that of the module in the current folder."""
    replica = Replica(0, Share(1), socket=Path("0.sock"), environment=os.environ)
    await replica.start()
    assert await replica.wait() == 5


@pytest.mark.usefixtures("hostile")
def test_the_worker_of_the_demo_and_the_benchmarks_is_ours(tmp_path: Path) -> None:
    """The exit code is that of a model that is not there."""
    worker = WorkerProcess({}, tmp_path / "log")
    assert worker.process.wait(60) == 5, (tmp_path / "log").read_text()


def test_no_interpreter_is_started_with_the_current_folder_in_its_path() -> None:
    """Each `-m` and `-c` in the arguments of a Python of ours comes behind `-P`."""
    files = [*(ROOT / "worker").rglob("*.py"), *(ROOT / ".ci").glob("*.py"), *(ROOT / "deploy").rglob("*.py")]
    assert not [f"{file}: {found}" for file in files for found in unsafe_arguments(ast.parse(file.read_text()))]
    assert [*unsafe_arguments(ast.parse('["python", "-m", "worker"]'))] == ["['python', '-m', 'worker']"]


def unsafe_arguments(tree: ast.Module) -> Iterator[str]:
    """Yield each list and tuple that holds `-m` or `-c` with a program after it, and no `-P` before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple):
            written = [ast.unparse(part) for part in node.elts]
            for before, part in zip(["", *written], written, strict=False):
                is_python = "sys.executable" in written or written[0].endswith(("-m'", "-P'", "python'"))
                if part in {"'-m'", "'-c'"} and before != "'-P'" and is_python:
                    yield ast.unparse(node)


@pytest.mark.parametrize("name", ["worker", "schemas"])
@pytest.mark.parametrize("is_package", [False, True])
@pytest.mark.parametrize("path", ["{folder}", ".", ":/nowhere"])
def test_a_module_that_hides_ours_is_named_in_one_line(tmp_path: Path, name: str, path: str, *, is_package: bool) -> None:
    """Its code does not run; an empty entry in PYTHONPATH is the current folder."""
    file = tmp_path / name / "__init__.py" if is_package else tmp_path / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"import os; os._exit({FOREIGN_CODE})\n")
    ended = subprocess.run(
        [sys.executable, "-P", "-c", LAUNCH, "version"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path.format(folder=tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"gist-stream: PYTHONPATH: another module named {name} precedes ours: {file}")
    assert ended.stderr.count("\n") == 1


def test_other_modules_in_pythonpath_are_no_obstacle(tmp_path: Path) -> None:
    """Neither a folder without code nor our own folder hides us."""
    (tmp_path / "worker").mkdir()
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ended = subprocess.run([sys.executable, "-P", "-c", LAUNCH, "version"], check=False, env=environment)
    assert ended.returncode == 0

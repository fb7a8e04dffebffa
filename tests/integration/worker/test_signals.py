"""What a signal does before a worker can drain, and that SIGHUP drains as SIGTERM does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.workers import Watcher, WorkerProcess, create, produce
from worker.commands.run import process, run
from worker.composition.model import ModelLoader
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from worker.broker.connection.connection import Connection

PROGRAM = (sys.executable, "-m", "tests.integration.support.loading_worker")
UNSHARE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
HAS_UNSHARE = shutil.which(UNSHARE[0]) is not None
MAY_UNSHARE = HAS_UNSHARE and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def start_loading(program: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Give a worker that loads its model; kill it at the end."""
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=os.environ | {"GIST_HTTP_PORT": "0"}) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "loading\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_the_model_loads_ends_the_worker_at_once(number: signal.Signals) -> None:
    """The exit code is 128 + the number, though the loading thread never ends."""
    with start_loading(PROGRAM) as process:
        process.send_signal(number)
        assert process.wait(60) == 128 + number


@pytest.mark.skipif(not MAY_UNSHARE, reason="this machine gives us no namespace of processes")
def test_process_1_of_a_container_hears_sigterm_while_the_model_loads() -> None:
    """The kernel drops a signal that process 1 has no handler for."""
    with start_loading([*UNSHARE, *PROGRAM]) as process:
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTERM)
        assert process.wait(60) == 143


def test_the_handlers_are_set_before_the_command_line_is_imported() -> None:
    """Both ways to start it have handlers while the imports run."""
    for start in ("import gist_stream; gist_stream.main()", "import runpy; runpy.run_module('worker', run_name='__main__')"):
        program = f"""
import importlib.abc, signal, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "worker.cli":
            print(getattr(signal.getsignal(signal.SIGTERM), "__name__", "none"))
watch = Watch()
sys.meta_path.insert(0, watch)
sys.argv[1:] = ["version"]
{start}
"""
        ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert ended.stdout.splitlines()[0] == "_leave"


@pytest.mark.parametrize("module", ["pathlib", "worker.cli", "worker.settings"])
@pytest.mark.parametrize("start", ["gist_stream.main()", "runpy.run_module('worker', run_name='__main__')"])
def test_ctrl_c_while_the_command_line_is_imported_prints_nothing(module: str, start: str) -> None:
    """The exit code is 130, as of a running command."""
    program = f"""
import importlib.abc, runpy, signal, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "{module}":
            signal.raise_signal(signal.SIGINT)
sys.modules.pop("pathlib", None)
sys.meta_path.insert(0, Watch())
sys.argv[1:] = ["version"]
if "gist_stream" in {start!r}:
    import gist_stream
{start}
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "")


def test_a_worker_under_nohup_goes_on() -> None:
    """SIGHUP stays ignored where the parent asked for that."""
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from worker.commands.run.signals import DRAINING, heard, leave_at_once\n"
        "leave_at_once(); assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN; assert signal.SIGHUP not in heard(DRAINING)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.usefixtures("_logging_as_before", "_signals_as_before")
@pytest.mark.parametrize("replica", [None, 0])
def test_only_a_worker_of_its_own_leaves_by_a_handler(replica: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that loads is ended by SIGTERM itself, which its supervisor takes for an orderly end."""
    handlers: list[object] = []

    async def note(*_arguments: object, **_options: object) -> None:
        handlers.append(signal.getsignal(signal.SIGTERM))

    monkeypatch.setattr(run, "run_flow", note)
    monkeypatch.setattr(ModelLoader, "begin", lambda *_arguments: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    process.run(read({}), replica=replica)
    assert (handlers == [signal.SIG_DFL]) == (replica is not None)


@pytest.mark.kafka
@pytest.mark.timeout(300)
@pytest.mark.parametrize("replicas", [1, 2])
async def test_sighup_drains(connection: Connection, topic: str, replicas: int) -> None:
    """A worker and a supervisor end with exit code 0."""
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, ["one"] * 20, num_partitions=2)
    program = ("-P", "-m", "worker", "run", "--replicas", str(replicas))
    with WorkerProcess(connection.bootstrap_servers, topic, program=program) as worker:
        async with Watcher(connection, topic, num_expected=20) as watcher:
            await watcher.all_accounted()
        assert await worker.end(signal.SIGHUP) == 0
        assert worker.events("stopped")

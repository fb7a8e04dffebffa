"""The supervisor with real processes of a small program instead of the worker: restart, drain, kill and cleanup."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from worker.supervision.core_sharing import Share
from worker.supervision.replica import Replica
from worker.supervision.restart_policy import Policy
from worker.supervision.supervisor import Supervisor
from worker.supervision.telemetry import SupervisorTelemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

# Serves until SIGTERM, then leaves with 0; ends at once with the code that a file named after its number holds.
PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
from worker.observability.http import HttpServer, build_probe
from worker.host import die_with_parent

number, parent = int(sys.argv[1]), int(sys.argv[2])
die_with_parent(parent)
room = Path(os.environ["ROOM"])
if (room / f"{number}.code").exists():
    sys.exit(int((room / f"{number}.code").read_text()))

async def metrics():
    return f"# TYPE gist_tokens counter\\ngist_tokens_total {number + 1}\\n".encode()

async def main():
    leave = asyncio.Event()
    if not (room / "deaf").exists():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    else:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reason = "stuck" if (room / f"{number}.stuck").exists() else None
    async with HttpServer(
        address=("unix:" + os.environ["SOCKET"] + str(number), 0), metrics=metrics, is_live=build_probe(lambda: reason),
        is_ready=build_probe(lambda: None),
    ):
        await leave.wait()

asyncio.run(main())
"""


class World:
    """A supervisor of two replicas, the directory of its sockets, and its exit code."""

    def __init__(self, room: Path) -> None:
        self.room = room
        environment = os.environ | {"ROOM": str(room), "SOCKET": f"{room}/s"}
        self.replicas = [
            Replica(number, Share(1), socket=room / f"s{number}", environment=environment, program=("-c", PROGRAM))
            for number in range(2)
        ]
        policy = Policy(first_pause_s=0.01, max_pause_s=0.02)
        self.supervisor = Supervisor(self.replicas, policy=policy, telemetry=SupervisorTelemetry())
        self.task: asyncio.Task[int] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[int]]:
        """Run the supervisor, and end all processes at the end of the block."""
        async with asyncio.timeout(60):
            self.task = asyncio.create_task(self.supervisor.run())
            try:
                yield self.task
            finally:
                self.task.cancel()
                await asyncio.wait([self.task])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Poll until the condition holds."""
        while not condition():  # noqa: ASYNC110  a process tells nobody what it does
            await asyncio.sleep(0.01)

    async def ready(self) -> None:
        """Wait until all replicas are ready."""
        while await self.supervisor.why_not_ready():  # noqa: ASYNC110  the same
            await asyncio.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Return a supervisor of two replicas that do not run yet."""
    return World(tmp_path)


async def test_a_replica_that_is_killed_is_started_again_and_the_other_is_left_alone(world: World) -> None:
    """The supervisor stays live, and one page has the metrics of both replicas and of the supervisor."""
    async with world.running() as ending:
        await world.ready()
        pids = [replica.pid for replica in world.replicas]
        assert pids[0] is not None
        os.kill(pids[0], signal.SIGKILL)
        await world.until(lambda: world.replicas[0].pid not in {None, pids[0]})
        assert await world.supervisor.why_not_live() is None
        await world.ready()
        assert world.replicas[1].pid == pids[1]
        page = (await world.supervisor.metrics()).decode()
        assert 'gist_tokens_total{replica="0"} 1.0' in page
        assert 'gist_tokens_total{replica="1"} 2.0' in page
        assert 'gist_replica_restarts_total{how="SIGKILL",replica="0"} 1.0' in page
        world.supervisor.on_signal(signal.SIGTERM)
        assert await ending == 0
    assert [replica.pid for replica in world.replicas] == [None, None]


async def test_a_final_failure_ends_all_replicas(world: World) -> None:
    """The supervisor drains the other replica and exits with the code of the failed replica."""
    async with world.running() as ending:
        await world.ready()
        (world.room / "1.code").write_text("5")
        world.replicas[1].send(signal.SIGKILL)
        assert await ending == 5


async def test_a_replica_that_never_comes_up_is_tried_again_until_we_leave(world: World) -> None:
    """The supervisor restarts the replica; a signal also ends the pause."""
    (world.room / "0.code").write_text("1")
    async with world.running() as ending:
        restarts = "gist_replica_restarts_total"
        registry = world.supervisor._telemetry.registry
        await world.until(lambda: (registry.get_sample_value(restarts, {"replica": "0", "how": "1"}) or 0) >= 2)
        assert await world.supervisor.why_not_ready() is not None
        world.supervisor.on_signal(signal.SIGINT)
        await ending


async def test_the_second_signal_kills(world: World) -> None:
    """Replicas that ignore the first signal are killed."""
    (world.room / "deaf").touch()
    async with world.running() as ending:
        await world.ready()
        world.supervisor.on_signal(signal.SIGTERM)
        assert not ending.done()
        world.supervisor.on_signal(signal.SIGTERM)
        assert await ending == 143


async def test_one_that_is_stuck_makes_all_of_it_not_live(world: World) -> None:
    """The replica reports that it is stuck, or does not answer although it answered before."""
    (world.room / "1.stuck").touch()
    async with world.running():
        await world.ready()
        assert await world.supervisor.why_not_live() == "replica 1: stuck"
        (world.room / "s0").unlink()
        assert await world.supervisor.why_not_live() == "replica 0: no answer"


def test_no_replica_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """The replicas also exit after SIGKILL of the supervisor."""
    code = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.supervision.test_supervisor import World

async def main():
    world = World(Path({str(tmp_path)!r}))
    async with world.running() as ending:
        await world.ready()
        print("pids", *(replica.pid for replica in world.replicas), flush=True)
        await ending

asyncio.run(main())
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    pids = next(line for line in supervisor.stdout if line.startswith("pids")).split()[1:]
    replicas = [psutil.Process(int(pid)) for pid in pids]
    assert len(replicas) == 2
    supervisor.kill()
    supervisor.communicate()
    _gone, alive = psutil.wait_procs(replicas, timeout=30)
    assert not alive

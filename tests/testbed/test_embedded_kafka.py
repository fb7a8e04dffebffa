"""The embedded broker: verified jars, crashes, and its end with the parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.broker.admin.topics import count_partitions, create_missing
from worker.broker.connection.connection import Connection
from worker.errors import BrokerUnavailable
from worker.testbed import embedded_kafka as embedded
from worker.testbed.embedded_kafka import EmbeddedKafka, is_broker_ready

pytestmark = pytest.mark.kafka


async def test_a_crash_keeps_the_data_and_a_stop_removes_them(own_kafka: EmbeddedKafka) -> None:
    """A topic from before a kill exists after the next start, at the same address."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers)
    await create_missing(connection, {"kept": 3})
    own_kafka.kill()
    assert not is_broker_ready("127.0.0.1", own_kafka.port)
    own_kafka.start()
    assert await count_partitions(connection, ["kept", "never"]) == {"kept": 3}
    directory = own_kafka._directory
    own_kafka.stop()
    assert not directory.exists()
    with pytest.raises(BrokerUnavailable, match="not running"):
        _ = own_kafka.pid


def test_the_broker_ends_when_its_parent_is_killed() -> None:
    """No broker remains after SIGKILL to the parent."""
    program = (
        "import sys, time\n"
        "from worker.testbed.embedded_kafka import EmbeddedKafka\n"
        "kafka = EmbeddedKafka().start()\n"
        "print(kafka.pid, kafka._directory, flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert _is_running(int(pid))
        parent.kill()
    subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], check=True, timeout=30)  # noqa: S607
    assert not _is_running(int(pid))
    subprocess.run(["rm", "-r", directory], check=True)  # noqa: S607


def test_a_jar_that_is_not_the_locked_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The SHA-256 of each jar is compared before the broker starts."""
    locked = json.loads(embedded._LOCK.read_text())
    forged = tmp_path / "embedded.lock"
    forged.write_text(json.dumps(locked | {next(iter(locked)): "0" * 64}))
    monkeypatch.setattr(embedded, "_LOCK", forged)
    with pytest.raises(BrokerUnavailable, match=r"is not the file of embedded\.lock"):
        embedded.runtime()


def test_a_broker_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    """The error has the end of the log."""
    kafka = EmbeddedKafka(directory=tmp_path / "data", properties="listeners=NONSENSE\n")
    with pytest.raises(BrokerUnavailable, match=r"could not format its data directory|did not start"):
        kafka.start()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie process still has a process id.
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()

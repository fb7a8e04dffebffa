"""Worker processes, numbered records, and the audit of the outputs, for tests that kill processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.integration.support.ports import free_port
from worker.broker.admin import topics as admin
from worker.broker.tools.clients import follow, open_producer
from worker.records import SPLIT_OUTPUTS, Output
from worker.testbed.delivery_audit import DeliveryAudit
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from worker.broker.connection.connection import Connection
    from worker.records import Record

RESULTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES)


class WorkerProcess:
    """`python -P -m worker run` as a process; `program` replaces the real worker."""

    def __init__(
        self, bootstrap_servers: str, topic: str, *, program: Sequence[str] = ("-P", "-m", "worker", "run"), **settings: object
    ) -> None:
        self.port = free_port()
        self._program = program
        # What the program is told that is no setting.
        self.environment: dict[str, str] = {}
        # Short limits: a test should see a takeover, not wait for it.
        self._settings = {
            "bootstrap_servers": bootstrap_servers,
            "input_topic": topic,
            "group_id": f"group-{topic}",
            "http_port": self.port,
            "log_format": "json",
            "session_timeout_ms": 6_000,
            "heartbeat_interval_ms": 500,
            "commit_interval_ms": 200,
            "threads": 1,
            # Little in flight: most of the records are still to come when something is killed.
            "max_batch_tokens": 1_024,
            "max_in_flight_tokens": 4_096,
            "resume_in_flight_tokens": 2_048,
            "max_poll_records": 50,
            **settings,
        }
        self.log = Path(tempfile.mkstemp(prefix="gist-stream-worker-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process; `ready` returns when it serves."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIST_")}
        environment |= {f"GIST_{name.upper()}": str(value) for name, value in self._settings.items()} | self.environment
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self._program], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    async def ready(self) -> None:
        """Return once the worker is ready; fails with the end of its log if it ends."""
        while not await asyncio.to_thread(self._answers, "readyz"):
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            await asyncio.sleep(0.1)

    @property
    def is_ready(self) -> bool:
        """Whether the worker serves."""
        return self._answers("readyz")

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))

    def events(self, event: str) -> list[dict[str, object]]:
        """Return the log lines of an event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    async def end(self, how: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return await asyncio.to_thread(self.process.wait, 90)

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End all processes."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if error is None:
            self.log.unlink()


def map_topic_outputs(topic: str) -> dict[str, Output]:
    """Return the default output topics of an input topic."""
    return {f"{topic}.{output}": output for output in SPLIT_OUTPUTS}


async def create(connection: Connection, topic: str, *, num_partitions: int) -> None:
    """Create an input topic and its outputs."""
    await admin.create_missing(connection, dict.fromkeys([topic, *map_topic_outputs(topic)], num_partitions))


async def produce(connection: Connection, topic: str, texts: Sequence[str], *, num_partitions: int, first: int = 0) -> None:
    """Send numbered requests, spread evenly over the partitions."""
    async with open_producer(connection) as producer:
        for number, text in enumerate(texts, start=first):
            value = json.dumps({"id": f"id-{number}", "text": text}).encode()
            await producer.send(topic, value, key=b"%d" % number, partition=number % num_partitions)


class Watcher:
    """Reads every output from the beginning, during the test; order and number of outputs are available at any time."""

    def __init__(self, connection: Connection, topic: str, *, num_expected: int) -> None:
        self.account = DeliveryAudit(num_produced=num_expected)
        # Input offsets by output and partition, in order of arrival.
        self.order: dict[tuple[Output, int], list[int]] = {}
        self.records: list[tuple[Output, Record]] = []
        self._outputs = map_topic_outputs(topic)
        self._connection = connection
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start reading."""
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop reading."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the audit holds; the time limit of the test ends the wait."""
        while not condition():
            self._changed.clear()
            assert self._task is not None
            done, _ = await asyncio.wait(
                [self._task, changed := asyncio.create_task(self._changed.wait())], return_when=asyncio.FIRST_COMPLETED
            )
            changed.cancel()
            assert self._task not in done, "the watcher ended early"

    async def all_accounted(self) -> None:
        """Wait until every record has all its outputs or a dead letter."""
        await self.until(lambda: self.account.num_missing <= 0)

    async def _read(self) -> None:
        async for records in follow(self._connection, list(self._outputs), from_beginning=True, stop=self._stop):
            for record in records:
                output, headers = self._outputs[record.partition.topic], read_headers(record.headers)
                self.account.note(output, record)
                self.records.append((output, record))
                where = output, int(headers["gist-source-partition"])
                self.order.setdefault(where, []).append(int(headers["gist-source-offset"]))
            self._changed.set()


def first_seen(offsets: Sequence[int]) -> list[int]:
    """Return the first occurrence of each offset; these must be in order."""
    return list(dict.fromkeys(offsets))

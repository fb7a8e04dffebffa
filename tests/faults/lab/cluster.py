"""A cluster of brokers on this machine, whose nodes a test kills, freezes and restarts.

Each node is broker and controller, and has a guard that ends the node with the process of the test.
The jars and the Java runtime are those of the embedded Kafka.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.support.ports import free_ports
from worker.testbed import embedded_kafka as embedded

if TYPE_CHECKING:
    from types import TracebackType

_CONFIGURATION = """process.roles=broker,controller
node.id={node_id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,DIRECT:PLAINTEXT,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=DIRECT
log.dirs={directory}/logs
default.replication.factor={num_replicas}
min.insync.replicas={min_in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={num_replicas}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={num_replicas}
transaction.state.log.min.isr={min_in_sync}
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
auto.create.topics.enable=false
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
"""
_JVM = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0


@dataclass(slots=True)
class Node:
    """One broker: its ports, its data directory, and its process."""

    directory: Path
    #: For the test's own clients, and between the brokers.
    port: int
    controller_port: int
    #: Where the broker listens for what comes through the proxy, and where the proxy listens for clients.
    behind_proxy_port: int
    proxy_port: int
    process: subprocess.Popen[bytes] | None = None
    is_suspended: bool = False
    # Ends the broker when the test's process dies.
    guard: subprocess.Popen[bytes] | None = field(default=None, repr=False)


class Cluster:
    """A number of brokers. With three brokers, topics have three replicas, of which two must be in sync.

    With `proxied` each broker has a second listener whose advertised address is a proxy's: a client that bootstraps from
    `proxied_servers` reaches each broker through the proxies, one at `127.0.0.1:nodes[i].proxy_port` for each.
    """

    def __init__(self, num_brokers: int = 3, directory: Path | None = None, *, proxied: bool = False, properties: str = "") -> None:
        """Choose ports; `properties` extend the configuration of each broker."""
        self._is_temporary = directory is None
        self._directory = directory or Path(tempfile.mkdtemp(prefix="gist-stream-cluster-"))
        self._properties = properties
        self.is_proxied = proxied
        ports = free_ports(4 * num_brokers)
        quartets = zip(*[iter(ports)] * 4, strict=True)
        self.nodes = [Node(self._directory / f"node-{i}", *quartet) for i, quartet in enumerate(quartets)]

    @property
    def bootstrap_servers(self) -> str:
        """The direct addresses of the running brokers; of all brokers if none runs."""
        awake = [node for index, node in enumerate(self.nodes) if self.is_running(index) and not node.is_suspended]
        return ",".join(f"127.0.0.1:{node.port}" for node in awake or self.nodes)

    @property
    def proxied_servers(self) -> str:
        """The addresses of all brokers behind their proxies."""
        return ",".join(f"127.0.0.1:{node.proxy_port}" for node in self.nodes)

    @property
    def num_replicas(self) -> int:
        """The number of replicas of each topic."""
        return min(3, len(self.nodes))

    def start(self) -> Self:
        """Format new nodes, start all, and return once all answer."""
        self._format()
        for index in range(len(self.nodes)):
            self.launch(index)
        for index in range(len(self.nodes)):
            self.await_answer(index)
        return self

    def launch(self, index: int) -> None:
        """Start a broker without waiting for it."""
        node = self.nodes[index]
        with (node.directory / "broker.log").open("ab") as log:
            node.process = subprocess.Popen(
                [*_java(), "kafka.Kafka", str(node.directory / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        guard = [sys.executable, "-c", embedded._GUARD, str(node.process.pid)]
        node.guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)

    def await_answer(self, index: int) -> None:
        """Return once a broker answers; fails with the end of its log if it ends."""
        node, deadline_s = self.nodes[index], time.monotonic() + _START_TIMEOUT_S
        while not embedded.is_broker_ready("127.0.0.1", node.port):
            if node.process is None or node.process.poll() is not None or time.monotonic() > deadline_s:
                raise AssertionError(f"broker {index} did not start: {(node.directory / 'broker.log').read_text()[-1000:]}")
            time.sleep(0.05)

    def restart(self, index: int) -> None:
        """Start a broker that was stopped or killed, with its data."""
        if not self.is_running(index):
            self.launch(index)
        self.await_answer(index)

    def is_running(self, index: int) -> bool:
        """Whether the broker has a process, also if the process is frozen."""
        process = self.nodes[index].process
        return process is not None and process.poll() is None

    def kill(self, index: int) -> None:
        """Kill a broker, as a crash does."""
        self._end(self.nodes[index], signal.SIGKILL)

    def stop(self, index: int) -> None:
        """Shut a broker down."""
        self.resume(index)
        self._end(self.nodes[index], signal.SIGTERM)

    def suspend(self, index: int) -> None:
        """Freeze a broker: its connections stay open, and it does not answer."""
        self._signal(index, signal.SIGSTOP)
        self.nodes[index].is_suspended = True

    def resume(self, index: int) -> None:
        """Continue a frozen broker."""
        self._signal(index, signal.SIGCONT)
        self.nodes[index].is_suspended = False

    def heal(self) -> None:
        """Continue frozen brokers, and restart ended ones."""
        for index in range(len(self.nodes)):
            self.resume(index)
            if not self.is_running(index):
                self.launch(index)
        for index in range(len(self.nodes)):
            self.await_answer(index)

    async def find_leader(self, topic: str, partition: int) -> int:
        """Return the index of the broker that leads a partition; -1 without a leader."""
        return next(max(-1, leader - 1) for index, leader, _ in await self._partitions([topic]) if index == partition)

    async def in_sync(self) -> None:
        """Wait until every replica of every partition is in sync: then the cluster can lose any one broker."""
        while not all(is_in_sync for _, _, is_in_sync in await self._partitions(None)):  # noqa: ASYNC110  brokers do not call us
            await asyncio.sleep(0.2)

    async def _partitions(self, topics: list[str] | None) -> list[tuple[int, int, bool]]:
        """Return index, leader node, and whether all replicas are in sync, of each partition."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=5_000)
        await admin.start()
        try:
            described = await admin.describe_topics(topics)
        finally:
            await admin.close()
        partitions = [partition for topic in described for partition in topic["partitions"]]
        return [
            (int(partition["partition"]), int(partition["leader"]), len(partition["isr"]) == len(partition["replicas"]))
            for partition in partitions
        ]

    def close(self) -> None:
        """End every broker at once and remove a temporary directory."""
        for node in self.nodes:
            self._end(node, signal.SIGKILL)
        if self._is_temporary:
            shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start."""
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End all processes."""
        self.close()

    def _format(self) -> None:
        """Format the data directories concurrently: each takes a Java process."""
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatting = []
        for index, node in enumerate(self.nodes):
            configuration = node.directory / "server.properties"
            if configuration.exists():
                continue
            node.directory.mkdir(parents=True)
            configuration.write_text(self._configuration(index))
            command = [*_java(), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(configuration)]
            formatting.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        for process in formatting:
            words, _ = process.communicate()
            assert process.returncode == 0, words.decode()[-1000:]

    def _configuration(self, index: int) -> str:
        node = self.nodes[index]
        listeners = f"DIRECT://127.0.0.1:{node.port}"
        advertised = listeners
        if self.is_proxied:
            listeners += f",PROXIED://127.0.0.1:{node.behind_proxy_port}"
            advertised += f",PROXIED://127.0.0.1:{node.proxy_port}"
        text = _CONFIGURATION.format(
            node_id=index + 1,
            voters=",".join(f"{i}@127.0.0.1:{node.controller_port}" for i, node in enumerate(self.nodes, 1)),
            listeners=f"{listeners},CONTROLLER://127.0.0.1:{node.controller_port}",
            advertised=advertised,
            directory=node.directory,
            num_replicas=self.num_replicas,
            min_in_sync=max(1, self.num_replicas - 1),
        )
        return text + self._properties

    def _signal(self, index: int, number: signal.Signals) -> None:
        process = self.nodes[index].process
        if process is not None:
            process.send_signal(number)

    def _end(self, node: Node, how: signal.Signals) -> None:
        if node.guard is not None:
            # First: it must never shoot at a process number that has become another's.
            node.guard.kill()
            node.guard.communicate()
            node.guard = None
        if node.process is not None:
            node.process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.process.wait(_STOP_TIMEOUT_S)
            node.process.kill()
            node.process.wait()
            node.process, node.is_suspended = None, False


def _java() -> list[str]:
    command, jars = embedded.runtime()
    return [str(command), *_JVM, "-cp", os.pathsep.join(map(str, jars))]

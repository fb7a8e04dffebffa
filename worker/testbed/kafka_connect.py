"""Kafka Connect in standalone mode with Debezium's JDBC sink, from the jars of the embedded Kafka and one archive of Maven."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from worker.errors import BrokerUnavailable
from worker.testbed.embedded_kafka import find_free_port, runtime
from worker.testbed.local_server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Mapping

JDBC_SINK_VERSION = "3.6.0.Final"
_SHA256 = "c23af8d416f0f801ffb0271b1a8fd9b5360ff8d66b0dd650e066bb56ecfddc05"
# The drivers of other databases, a fifth of the archive.
_OTHER_DRIVERS = ("mariadb-", "mssql-", "mysql-", "ojdbc")
_JVM = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0


def fetch_jdbc_sink(directory: Path) -> Path:
    """Return the plugin folder with Debezium's JDBC sink in `directory`; downloads the archive (58 MB) once.

    Raises `BrokerUnavailable` if the archive cannot be fetched or is another file.
    """
    folder = directory / f"debezium-jdbc-{JDBC_SINK_VERSION}"
    if folder.exists():
        return folder
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415  of the extra `embedded`

        with contextlib.redirect_stdout(sys.stderr):
            project = MavenContext().project("io.debezium", "debezium-connector-jdbc").at_version(JDBC_SINK_VERSION)
            archive = Path(project.artifact(classifier="plugin", packaging="tar.gz").resolve())
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    except Exception as error:  # any exception of the resolver means that the archive is missing
        raise BrokerUnavailable(f"the JDBC sink of Debezium could not be fetched from Maven: {error}") from error
    if digest != _SHA256:
        raise BrokerUnavailable(f"{archive} is not the known archive of Debezium's JDBC sink: delete it and start again")
    unpacked = folder.with_suffix(".partial")
    with tarfile.open(archive) as tar:
        wanted = [member for member in tar if member.name.endswith((".jar", "LICENSE.txt"))]
        tar.extractall(unpacked, [member for member in wanted if not _is_other_driver(member.name)], filter="data")
    unpacked.rename(folder)
    return folder


def _is_other_driver(name: str) -> bool:
    return Path(name).name.startswith(_OTHER_DRIVERS)


class KafkaConnect(LocalServer):
    """One process with some connectors. Use the object as a context manager; `kill` and `start` simulate a crash."""

    def __init__(
        self, bootstrap_servers: str, directory: Path, *, plugins: Path, connectors: Mapping[str, Mapping[str, str]]
    ) -> None:
        """Configure connectors by name; `plugins` is the folder of their jars."""
        self._names = list(connectors)
        self.url = f"http://127.0.0.1:{find_free_port()}"
        self._log = directory / "connect.log"
        directory.mkdir(parents=True, exist_ok=True)
        worker = {
            "bootstrap.servers": bootstrap_servers,
            "listeners": self.url,
            "plugin.path": str(plugins.resolve()),
            "plugin.discovery": "service_load",
            "offset.storage.file.filename": str(directory / "offsets"),
            "offset.flush.interval.ms": "1000",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "consumer.auto.offset.reset": "earliest",
            "consumer.isolation.level": "read_committed",
            # After a crash the group waits for this time.
            "consumer.session.timeout.ms": "6000",
            "consumer.heartbeat.interval.ms": "2000",
            # A topic that is created after the start of the connector is found within this time.
            "consumer.metadata.max.age.ms": "5000",
        }
        self._files = [_write(directory / "worker.properties", worker)]
        self._files += [_write(directory / f"{name}.properties", {"name": name, **values}) for name, values in connectors.items()]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process; return when every task runs. Raises `BrokerUnavailable` with the trace of a failed task."""
        java, jars = runtime()
        command = [str(java), *_JVM, "-cp", os.pathsep.join(map(str, jars))]
        command += ["org.apache.kafka.connect.cli.ConnectStandalone", *map(str, self._files)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self.check_running():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise BrokerUnavailable(f"Kafka Connect did not start: {self._log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
        return self

    def check_running(self) -> bool:
        """Return whether every connector has running tasks. Raises `BrokerUnavailable` with the trace of a failed task."""
        try:
            statuses = [_get(f"{self.url}/connectors/{name}/status") for name in self._names]
        except (urllib.error.URLError, OSError, ValueError):
            return False
        tasks = [task for status in statuses for task in status["tasks"]]
        for task in tasks:
            if task["state"] == "FAILED":
                raise BrokerUnavailable(f"a task of Kafka Connect failed: {task.get('trace', '')[:2000]}")
        return all(status["tasks"] for status in statuses) and all(task["state"] == "RUNNING" for task in tasks)

    def kill(self) -> None:
        """Send SIGKILL; the committed offsets remain."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_TIMEOUT_S)
            self.kill()


def _write(file: Path, values: Mapping[str, str]) -> Path:
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return file


def _get(url: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  a process of this machine
        found: dict[str, list[dict[str, str]]] = json.loads(answer.read())
    return found

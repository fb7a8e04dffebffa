"""Kafka's own consumer in Java, as a member of a group of the consumer protocol."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from worker.testbed.embedded_kafka import runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from worker.broker.connection.connection import Connection

_JVM = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@contextlib.contextmanager
def consume_in_java(connection: Connection, topic: str, group_id: str) -> Iterator[None]:
    """Run the console consumer of Kafka, which leaves the group at the end."""
    command, jars = runtime()
    java = [str(command), *_JVM, "-cp", os.pathsep.join(map(str, jars)), "org.apache.kafka.tools.consumer.ConsoleConsumer"]
    arguments = ["--bootstrap-server", connection.bootstrap_servers, "--topic", topic, "--group", group_id]
    arguments += ["--command-property", "group.protocol=consumer", "--command-property", "enable.auto.commit=false"]
    with subprocess.Popen([*java, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()

"""Run Apache Kafka in a container."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path
from typing import Self

import docker
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.container import DockerContainer

from worker.testbed.embedded_kafka import is_broker_ready

IMAGE = os.environ.get("KAFKA_IMAGE", "apache/kafka:4.3.1")
_SCRIPT = "/tmp/start.sh"  # noqa: S108  inside the container
_PORT = 9092
_START_TIMEOUT_S = 60.0
_SOCKET = Path("/var/run/docker.sock")


class ApacheKafka(DockerContainer):  # type: ignore[misc]  # testcontainers ships no types
    """One broker. The container waits for a start script, because its address is known only after Docker has mapped the port."""

    def __init__(self, image: str = IMAGE) -> None:
        super().__init__(image)
        self.with_exposed_ports(_PORT)
        self.with_envs(
            KAFKA_NODE_ID="1",
            KAFKA_PROCESS_ROLES="broker,controller",
            KAFKA_LISTENERS=f"PLAINTEXT://:{_PORT},BROKER://:9093,CONTROLLER://:9094",
            KAFKA_LISTENER_SECURITY_PROTOCOL_MAP="PLAINTEXT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            KAFKA_INTER_BROKER_LISTENER_NAME="BROKER",
            KAFKA_CONTROLLER_LISTENER_NAMES="CONTROLLER",
            KAFKA_CONTROLLER_QUORUM_VOTERS="1@localhost:9094",
            KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR="1",
            KAFKA_TRANSACTION_STATE_LOG_MIN_ISR="1",
            KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS="0",
            KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS="100",
            KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS="1000",
            KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS="6000",
            KAFKA_AUTO_CREATE_TOPICS_ENABLE="false",
        )
        self.with_command(f'sh -c "while [ ! -f {_SCRIPT} ]; do sleep 0.05; done; exec sh {_SCRIPT}"')

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients on this machine."""
        return f"{self.get_container_host_ip()}:{self.get_exposed_port(_PORT)}"

    def start(self) -> Self:
        """Start the broker and return once it answers."""
        super().start()
        listeners = f"PLAINTEXT://{self.bootstrap_servers},BROKER://localhost:9093"
        script = f"export KAFKA_ADVERTISED_LISTENERS={listeners}\nexec /etc/kafka/docker/run\n".encode()
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            info = tarfile.TarInfo(os.path.basename(_SCRIPT))  # noqa: PTH119  a path inside the container
            info.size, info.mode = len(script), 0o644
            archive.addfile(info, io.BytesIO(script))
        self.get_wrapped_container().put_archive(os.path.dirname(_SCRIPT), content.getvalue())  # noqa: PTH120  the same
        host, port = self.get_container_host_ip(), int(self.get_exposed_port(_PORT))
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not is_broker_ready(host, port):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"the container did not answer: {self.get_logs()[0][-2000:].decode(errors='replace')}")
            time.sleep(0.1)
        return self


def unavailable() -> str | None:
    """Return why Docker cannot be used, or None: Docker answers, and the image is available or can be pulled."""
    # The client leaks a socket where nothing listens; so ask the file first.
    if "DOCKER_HOST" not in os.environ and not _SOCKET.is_socket():
        return f"no Docker engine here: there is no {_SOCKET}"
    try:
        client = docker.from_env(timeout=10)
    except DockerException as error:
        return f"no Docker engine answers: {error}"[:160]
    try:
        client.ping()
        try:
            client.images.get(IMAGE)
        except ImageNotFound:
            client.images.pull(IMAGE)
    except DockerException as error:
        return f"Docker answers, but the image {IMAGE} is neither here nor to be had: {error}"[:160]
    finally:
        client.close()
    return None

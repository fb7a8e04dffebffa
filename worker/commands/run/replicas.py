"""Run several workers on this machine: the settings of each, and the process that supervises them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from worker.commands.run.signals import DRAINING, heard
from worker.errors import BadSettings
from worker.host import ThreadPlan, count_cores, list_cores
from worker.observability.http import HttpServer
from worker.observability.log_setup import configure_logging
from worker.settings.connection import PREFIX
from worker.supervision.core_sharing import divide
from worker.supervision.replica import Replica
from worker.supervision.restart_policy import Policy
from worker.supervision.supervisor import Supervisor
from worker.supervision.telemetry import SupervisorTelemetry

if TYPE_CHECKING:
    from worker.settings import Settings
    from worker.supervision.core_sharing import Share

# The longest path of a socket that the kernel accepts, without the name of the socket.
_MAX_DIRECTORY_BYTES = 90


def run_replicas(settings: Settings, num_replicas: int) -> int:
    """Keep `num_replicas` workers running until a signal; return the exit code."""
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    shares = divide(num_replicas, cores=list_cores(), num_usable=count_cores())
    try:
        with tempfile.TemporaryDirectory(prefix="gist-stream-") as directory:
            if len(os.fsencode(directory)) > _MAX_DIRECTORY_BYTES:
                raise BadSettings(f"TMPDIR: sockets cannot be kept in {directory}: its name is too long")
            return asyncio.run(_run(settings, shares, Path(directory)))
    except FileNotFoundError as error:
        raise BadSettings(f"TMPDIR: the replicas' sockets need a directory that can be written: {error.strerror}") from error


async def _run(settings: Settings, shares: list[Share], directory: Path) -> int:
    telemetry = SupervisorTelemetry()
    replicas = []
    for number, share in enumerate(shares):
        socket = directory / f"{number}.sock"
        environment = build_environment(settings, number, share, socket=socket)
        replicas.append(Replica(number, share, socket=socket, environment=environment))
    supervisor = Supervisor(replicas, policy=Policy(), telemetry=telemetry)
    loop = asyncio.get_running_loop()
    for number in heard(DRAINING):
        loop.add_signal_handler(number, supervisor.on_signal, number)
    server = HttpServer(
        address=(settings.http_host, settings.http_port),
        metrics=supervisor.metrics,
        is_live=supervisor.why_not_live,
        is_ready=supervisor.why_not_ready,
    )
    async with server:
        telemetry.supervising(http=server.address, shares=shares)
        return await supervisor.run()


def build_environment(settings: Settings, number: int, share: Share, *, socket: Path) -> dict[str, str]:
    """Return the environment of a replica: all given settings, and those that differ between replicas."""
    plan = ThreadPlan.build(share.threads, matmul=settings.threads, tokenizer=settings.tokenizer_threads)
    values = {name: getattr(settings, name) for name in settings.model_fields_set} | {
        "client_id": f"{settings.client_id}-{number}",
        "threads": plan.matmul,
        "tokenizer_threads": plan.tokenizer,
        "http_host": f"unix:{socket}",
    }
    if settings.group_instance_id is not None:
        values["group_instance_id"] = f"{settings.group_instance_id}-{number}"
    return os.environ | {f"{PREFIX}{name.upper()}": _written(value) for name, value in values.items() if value is not None}


def _written(value: object) -> str:
    """Return the value of a setting as a variable has it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    return str(value)

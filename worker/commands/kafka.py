"""Run a Kafka broker on this machine, for a trial."""

from __future__ import annotations

import signal
import socket
import sys
from typing import Annotated

import typer

from worker.errors import BadSettings
from worker.testbed.embedded_kafka import EmbeddedKafka


def kafka(
    port: Annotated[int, typer.Argument(min=0, max=65_535, help="The port on 127.0.0.1. 0: a free port, which is printed.")] = 9092,
) -> None:
    """Run a Kafka broker on this machine until Ctrl-C, for a trial.

    The broker has no security, and its data are deleted when it ends. It needs neither Docker nor Java: the packages of the extra
    `embedded` contain a Java runtime, and the first start downloads the files of Kafka (57 MB).
    """
    if port:
        _require_free(port)
    sys.stderr.write("starting Kafka …\n")
    # SIGTERM ends a command at once; as an exception, it also stops the broker.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with EmbeddedKafka(port=port or None) as broker:
        sys.stdout.write(f"{broker.bootstrap_servers}\n")
        sys.stdout.flush()
        sys.stderr.write(
            f"Kafka is ready; Ctrl-C ends it. For other commands: export GIST_BOOTSTRAP_SERVERS={broker.bootstrap_servers}\n"
        )
        try:
            signal.pause()
        except KeyboardInterrupt:
            sys.stderr.write("stopping Kafka …\n")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise BadSettings(
                f"PORT: no broker can listen at 127.0.0.1:{port}: {error.strerror}; set 0 for any free port"
            ) from error

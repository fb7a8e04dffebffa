"""The environment of each replica."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker.commands.run.replicas import build_environment, run_replicas
from worker.errors import BadSettings
from worker.settings import read
from worker.supervision.core_sharing import Share

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = Path("/run/1.sock")


def told(settings: Mapping[str, object], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings in the environment of replica 1."""
    monkeypatch.setenv("GIST_GROUP_ID", "of-the-environment")
    environment = build_environment(read(dict(settings)), 1, Share(3), socket=SOCKET)
    return {name: value for name, value in environment.items() if name.startswith("GIST_")}


def test_a_replica_reads_what_we_were_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags, environment and secrets reach the replica; client id, threads and socket are set for each replica."""
    secret = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": "hush"}
    environment = told({"tasks": "ner,embed", "create_topics": "true", "ssl_ca_file": "/ca.pem", **secret}, monkeypatch)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = read()
    assert (settings.client_id, settings.threads, settings.tokenizer_threads) == ("gist-stream-1", 3, 1)
    assert (settings.http_host, settings.group_id) == (f"unix:{SOCKET}", "of-the-environment")
    assert (settings.tasks, settings.create_topics, settings.ssl_ca_file) == (frozenset({"ner", "embed"}), True, Path("/ca.pem"))
    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == "hush"
    assert settings.group_instance_id is None


def test_a_static_member_keeps_a_name_of_its_own_and_given_threads_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the replica is appended to the instance id and the client id."""
    environment = told({"group_instance_id": "pod-0", "threads": 7, "client_id": "mine"}, monkeypatch)
    assert environment["GIST_GROUP_INSTANCE_ID"] == "pod-0-1"
    assert (environment["GIST_THREADS"], environment["GIST_CLIENT_ID"]) == ("7", "mine-1")


@pytest.mark.usefixtures("_logging_as_before")
def test_a_place_for_sockets_that_is_too_deep_is_a_bad_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel limits the path of a socket to about 100 bytes."""
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with pytest.raises(BadSettings, match="TMPDIR: sockets cannot be kept"):
        run_replicas(read({}), 2)

"""Workers that the broker refuses. Each ends with one line and its exit code, and its log contains no secret.

All cases run at once, as processes of one program, with the log level `debug`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.workers import WorkerProcess
from tests.security.acls import read_documented_acls
from tests.security.endpoint import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.security.flow import create_topics, read_outputs, send
from tests.security.secured_kafka import build_token
from worker.composition.broker import build_connection
from worker.records import Output
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.security.endpoint import TokenEndpoint
    from tests.security.secured_kafka import SecuredKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PROGRAM = ("-m", "tests.security.worker_without_model")
WRONG, KEY_PASSWORD = "wrong-5d41e2", "kp-8a1b5c"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The parts of the cases' settings."""

    kafka: SecuredKafka
    endpoint: TokenEndpoint
    directory: Path
    old_token: str
    good_token: str

    def file(self, name: str, content: str) -> str:
        """Write a file and return its URL."""
        path = self.directory / name
        path.write_text(content)
        return path.as_uri()

    def oauth(self, **others: Any) -> dict[str, Any]:
        """Return the settings of client credentials."""
        own = {
            "sasl_mechanism": "OAUTHBEARER",
            "sasl_oauthbearer_token_endpoint_url": self.endpoint.url,
            "sasl_oauthbearer_client_id": CLIENT_ID,
            "sasl_oauthbearer_client_secret": CLIENT_SECRET,
            "sasl_oauthbearer_scope": SCOPE,
            "sasl_oauthbearer_ca_file": self.kafka.certificates.ca_file,
        }
        return self.kafka.settings("SASLTLS", **(own | others))

    def token_file(self, name: str, content: str) -> dict[str, Any]:
        """Return the settings of a token file."""
        url = self.file(name, content)
        return self.kafka.settings("SASLTLS", sasl_mechanism="OAUTHBEARER", sasl_oauthbearer_token_endpoint_url=url)

    @property
    def secrets(self) -> list[str]:
        """What must never be seen."""
        keys = self.directory.glob("*.key")
        lines = [line for key in keys for line in key.read_text().splitlines() if not line.startswith("-----")]
        return [
            self.kafka.password,
            WRONG,
            CLIENT_SECRET,
            KEY_PASSWORD,
            self.old_token,
            self.good_token,
            *self.endpoint.issued,
            *lines,
        ]


# What each case sets, its exit code, and what its last line says.
CASES: dict[str, tuple[Callable[[World], dict[str, Any]], int, str]] = {
    "a wrong password, PLAIN": (
        lambda world: world.kafka.settings("SASLTLS", sasl_mechanism="PLAIN", sasl_password=WRONG),
        3,
        "the broker refuses the login: Authentication failed: Invalid username or password",
    ),
    "a wrong password, SCRAM-SHA-512": (
        lambda world: world.kafka.settings("SASLTLS", sasl_password=WRONG),
        3,
        "the broker refuses the login: Authentication failed during authentication due to invalid credentials",
    ),
    "an unknown user, SCRAM-SHA-256": (
        lambda world: world.kafka.settings("SASLTLS", sasl_mechanism="SCRAM-SHA-256", sasl_username="who"),
        3,
        "the broker refuses the login: Authentication failed during authentication due to invalid credentials",
    ),
    "an expired token": (
        lambda world: world.token_file("old", world.old_token),
        3,
        'the broker refuses the login: {"status":"invalid_token"}',
    ),
    "no token in the file": (lambda world: world.token_file("empty", "\n"), 3, "empty contains no bearer token"),
    "a wrong client secret": (
        lambda world: world.oauth(sasl_oauthbearer_client_secret=WRONG),
        3,
        "/token: status 401 invalid_client: not known: Basic ***",
    ),
    "an endpoint that is not trusted": (
        lambda world: world.oauth(sasl_oauthbearer_ca_file=world.kafka.certificates.other_ca_file),
        3,
        "unable to get local issuer certificate",
    ),
    "a certificate that has expired": (
        lambda world: world.kafka.settings("EXPIRED"),
        3,
        "the broker's certificate is not trusted: certificate has expired (GIST_SSL_CA_FILE names the authority)",
    ),
    "a certificate of another host": (
        lambda world: world.kafka.settings("ELSEWHERE"),
        3,
        "IP address mismatch, certificate is not valid for '127.0.0.1'",
    ),
    "an authority that is not trusted": (
        lambda world: world.kafka.settings("TLS", ssl_ca_file=world.kafka.certificates.other_ca_file),
        3,
        "the broker's certificate is not trusted: unable to get local issuer certificate",
    ),
    "no certificate of ours": (
        lambda world: world.kafka.settings("MTLS"),
        3,
        "the broker requires a client certificate: set GIST_SSL_CERT_FILE and GIST_SSL_KEY_FILE",
    ),
    "a certificate of ours from elsewhere": (
        lambda world: world.kafka.settings(
            "MTLS",
            ssl_cert_file=world.kafka.certificates.stranger.cert_file,
            ssl_key_file=world.kafka.certificates.stranger.key_file,
        ),
        3,
        "the broker does not trust the certificate in GIST_SSL_CERT_FILE, or the certificate has expired",
    ),
    "a key without its password": (
        lambda world: world.kafka.settings(
            "MTLS",
            ssl_cert_file=world.kafka.certificates.client.cert_file,
            ssl_key_file=world.kafka.certificates.locked(KEY_PASSWORD),
        ),
        2,
        "One of them is damaged, or GIST_SSL_KEY_PASSWORD is wrong",
    ),
    "a file that is not there": (
        lambda world: world.kafka.settings("TLS", ssl_ca_file="/nowhere.pem"),
        2,
        "/nowhere.pem: No such file",
    ),
    "TLS where there is none": (
        lambda world: world.kafka.settings("TLS", bootstrap_servers=world.kafka.bootstrap_servers),
        3,
        "check that GIST_SECURITY_PROTOCOL is the protocol of this port",
    ),
    "no TLS where there is some": (
        lambda world: world.kafka.settings("TLS", security_protocol="PLAINTEXT"),
        3,
        "check that GIST_SECURITY_PROTOCOL is the protocol of this port",
    ),
    "a password in the open": (
        lambda world: world.kafka.settings("SASLOPEN", sasl_mechanism="PLAIN"),
        2,
        "sends the password unencrypted: use SASL_SSL or set GIST_ALLOW_PLAINTEXT_PASSWORD",
    ),
    "a token in the open": (
        lambda world: world.token_file("good", world.good_token) | {"security_protocol": "SASL_PLAINTEXT"},
        2,
        "sends the token unencrypted: use SASL_SSL or set GIST_ALLOW_PLAINTEXT_PASSWORD",
    ),
    "topics that are hidden from us": (
        lambda world: world.kafka.settings("SASLTLS", sasl_mechanism="PLAIN", sasl_username="nobody"),
        3,
        "does not allow Write on the topic ",
    ),
}


@pytest.fixture(scope="module")
def world(secured: SecuredKafka, endpoint: TokenEndpoint) -> World:
    """Return the parts of the cases' settings."""
    directory = secured.certificates.ca_file.parent
    secured.certificates.locked(KEY_PASSWORD)
    return World(
        kafka=secured, endpoint=endpoint, directory=directory, old_token=build_token(age_s=9_999), good_token=build_token()
    )


def _worker(topic: str, settings: dict[str, Any]) -> WorkerProcess:
    others = {name: value for name, value in settings.items() if name != "bootstrap_servers"}
    return WorkerProcess(settings["bootstrap_servers"], topic, program=PROGRAM, log_level="debug", **others)


@pytest.fixture(scope="module")
def ended(world: World) -> dict[str, tuple[int, str]]:
    """Return the exit code and the log of each case."""
    topic = asyncio.run(create_topics(world.kafka.administration))
    made = {name: settings(world) | {"input_topic": topic, "log_level": "debug"} for name, (settings, *_) in CASES.items()}
    logs = {name: world.directory / f"{number}.log" for number, name in enumerate(made)}
    workers = [(str(logs[name]), {key: str(value) for key, value in settings.items()}) for name, settings in made.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIST_")}
    answer = subprocess.run(
        [sys.executable, *PROGRAM, "--many"],
        input=json.dumps(workers).encode(),
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    codes = json.loads(answer.stdout)
    return {name: (code, logs[name].read_text()) for name, code in zip(made, codes, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_a_refused_worker_ends_with_one_line_and_its_exit_code(case: str, ended: dict[str, tuple[int, str]]) -> None:
    """The last line of the log has the address and the reason. The log has no traceback."""
    _, exit_code, complaint = CASES[case]
    code, log = ended[case]
    assert code == exit_code, log[-2000:]
    last = log.splitlines()[-1]
    assert last.startswith("gist-stream: ")
    assert complaint in last
    assert "Traceback" not in log


def test_no_log_contains_a_secret(world: World, ended: dict[str, tuple[int, str]]) -> None:
    """The secrets are passwords, tokens and keys."""
    for case, (_, log) in ended.items():
        for secret in world.secrets:
            assert secret not in log, case


@pytest.mark.parametrize("way", ["password", "token"])
async def test_the_debug_log_of_a_running_worker_contains_no_secret(world: World, way: str) -> None:
    """The log covers the life of a worker from start to stop, in each delivery mode."""
    topic = await create_topics(world.kafka.administration)
    await world.kafka.allow(read_documented_acls("exactly_once", topic=topic, group=topic))
    settings = world.oauth() if way == "token" else world.kafka.settings("SASLTLS", sasl_mechanism="PLAIN")
    settings |= {"group_id": topic, "delivery": "exactly_once" if way == "token" else "at_least_once"}
    with _worker(topic, settings) as worker:
        await worker.ready()
        await send(world.kafka.administration, topic, "hello")
        assert await read_outputs(world.kafka.administration, topic, "hello") == {Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES}
        assert await worker.end(signal.SIGTERM) == 0
        log = worker.log.read_text()
    assert json.loads(log.splitlines()[-1])["event"] == "stopped"
    assert not [secret for secret in world.secrets if secret in log]


def test_the_representation_of_a_connection_contains_no_secret(world: World) -> None:
    shown = repr(build_connection(read(world.oauth(ssl_key_password=KEY_PASSWORD))))
    assert not [secret for secret in world.secrets if secret in shown]

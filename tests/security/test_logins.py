"""Each kind of login, from a produced record to its outputs, with ACLs for that user only."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.acls import read_documented_acls
from tests.security.endpoint import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.security.flow import create_topics, read_outputs, send, serving
from tests.security.secured_kafka import build_token
from worker.broker.admin.topics import count_partitions
from worker.composition.broker import build_connection
from worker.errors import BrokerUnavailable
from worker.records import Output
from worker.settings import read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.security.acls import Acl
    from tests.security.endpoint import TokenEndpoint
    from tests.security.secured_kafka import SecuredKafka

pytestmark = pytest.mark.kafka

RESULTS = {Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES}


def _all_acls(topic: str) -> list[Acl]:
    """Return the ACLs of a worker, and those of the test's producer and readers."""
    acls = read_documented_acls("exactly_once", topic=topic, group=topic)
    read_, write = acls[0], acls[2]
    outputs = {acl.name for acl in acls if acl.kind == write.kind} - {topic}
    return [*acls, replace(write, name=topic), *(replace(read_, name=name) for name in outputs)]


async def _check_flow(secured: SecuredKafka, settings: dict[str, Any], *, delivery: str = "at_least_once") -> None:
    topic = await create_topics(secured.administration)
    await secured.allow(_all_acls(topic))
    settings = settings | {"input_topic": topic, "group_id": topic, "delivery": delivery}
    connection = build_connection(read(settings))
    async with serving(settings):
        await send(connection, topic, "hello")
        assert await read_outputs(connection, topic, "hello") == RESULTS


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_password_logs_in(secured: SecuredKafka, mechanism: str) -> None:
    await _check_flow(secured, secured.settings("SASLTLS", sasl_mechanism=mechanism))


async def test_a_password_without_tls_logs_in_if_allowed(secured: SecuredKafka) -> None:
    await _check_flow(secured, secured.settings("SASLOPEN", sasl_mechanism="PLAIN", allow_plaintext_password=True))


async def test_tls_without_a_login_connects(secured: SecuredKafka) -> None:
    """The worker verifies the broker, and the broker requires no login."""
    await _check_flow(secured, secured.settings("TLS"))


async def test_a_client_certificate_logs_in(secured: SecuredKafka) -> None:
    """Its common name is the user. Its key is encrypted with a password."""
    password = secrets.token_hex(8)
    own = {
        "ssl_cert_file": secured.certificates.client.cert_file,
        "ssl_key_file": secured.certificates.locked(password),
        "ssl_key_password": password,
    }
    await _check_flow(secured, secured.settings("MTLS", **own), delivery="exactly_once")


async def test_a_token_file_logs_in_and_may_be_replaced(secured: SecuredKafka, tmp_path: Path) -> None:
    """The broker closes a connection when its token expires. The next connection reads the new token."""
    file = tmp_path / "token"
    file.write_text(build_token(lifetime_s=4) + "\n")
    topic = await create_topics(secured.administration)
    await secured.allow(_all_acls(topic))
    oauth = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauthbearer_token_endpoint_url": file.as_uri()}
    settings = secured.settings("SASLTLS", **oauth, input_topic=topic, group_id=topic)
    async with serving(settings):
        await send(secured.administration, topic, "before")
        assert await read_outputs(secured.administration, topic, "before") == RESULTS
        first = file.read_text()
        file.write_text(build_token())
        # The broker refuses the old token once it has expired.
        while not await _is_refused(secured, tmp_path, first):
            pass
        await send(secured.administration, topic, "after")
        assert await read_outputs(secured.administration, topic, "after") == RESULTS


async def _is_refused(secured: SecuredKafka, tmp_path: Path, old: str) -> bool:
    file = tmp_path / "old"
    file.write_text(old)
    oauth = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauthbearer_token_endpoint_url": file.as_uri()}
    try:
        await count_partitions(build_connection(read(secured.settings("SASLTLS", **oauth))), [])
    except BrokerUnavailable:
        return True
    return False


async def test_client_credentials_log_in_with_one_token_for_all_connections(secured: SecuredKafka, endpoint: TokenEndpoint) -> None:
    num_issued = len(endpoint.issued)
    oauth = {
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": endpoint.url,
        "sasl_oauthbearer_client_id": CLIENT_ID,
        "sasl_oauthbearer_client_secret": CLIENT_SECRET,
        "sasl_oauthbearer_scope": SCOPE,
        "sasl_oauthbearer_ca_file": secured.certificates.ca_file,
    }
    await _check_flow(secured, secured.settings("SASLTLS", **oauth), delivery="exactly_once")
    # One for the worker, one for the test.
    assert len(endpoint.issued) == num_issued + 2

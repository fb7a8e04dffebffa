"""Each way to log in, from the produced record to its results, by clients that can do nothing else."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.acls import documented
from tests.security.endpoint import CLIENT_ID, CLIENT_SECRET, SCOPE
from tests.security.flow import created, results, send, serving
from tests.security.secured_kafka import token
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


def _everything(topic: str) -> list[Acl]:
    """Return what a worker needs, and what its producers and readers do."""
    acls = documented("exactly_once", topic=topic, group=topic)
    read_, write = acls[0], acls[2]
    outputs = {it.name for it in acls if it.kind == write.kind} - {topic}
    return [*acls, replace(write, name=topic), *(replace(read_, name=name) for name in outputs)]


async def _goes_through(secured: SecuredKafka, settings: dict[str, Any], *, delivery: str = "at_least_once") -> None:
    topic = await created(secured.administration)
    await secured.allow(_everything(topic))
    settings = settings | {"input_topic": topic, "group_id": topic, "delivery": delivery}
    connection = build_connection(read(settings))
    async with serving(settings):
        await send(connection, topic, "hello")
        assert await results(connection, topic, "hello") == RESULTS


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_a_password_opens(secured: SecuredKafka, mechanism: str) -> None:
    """Over TLS, by each of the mechanisms."""
    await _goes_through(secured, secured.settings("SASLTLS", sasl_mechanism=mechanism))


async def test_a_password_over_an_open_connection_opens_when_forced(secured: SecuredKafka) -> None:
    """For a network that nobody reads."""
    await _goes_through(secured, secured.settings("SASLOPEN", sasl_mechanism="PLAIN", allow_plaintext_password=True))


async def test_tls_alone_is_enough_where_nobody_is_asked(secured: SecuredKafka) -> None:
    """The broker is verified, we are not."""
    await _goes_through(secured, secured.settings("TLS"))


async def test_a_certificate_opens(secured: SecuredKafka) -> None:
    """Its common name is who we are; its key may have a password."""
    password = secrets.token_hex(8)
    own = {
        "ssl_cert_file": secured.certificates.client.cert_file,
        "ssl_key_file": secured.certificates.locked(password),
        "ssl_key_password": password,
    }
    await _goes_through(secured, secured.settings("MTLS", **own), delivery="exactly_once")


async def test_a_token_from_a_file_opens_and_goes_on_when_it_is_replaced(secured: SecuredKafka, tmp_path: Path) -> None:
    """The broker ends the connection with the token's life; the next connection reads the next token."""
    file = tmp_path / "token"
    file.write_text(token(life_s=4) + "\n")
    topic = await created(secured.administration)
    await secured.allow(_everything(topic))
    oauth = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauthbearer_token_endpoint_url": file.as_uri()}
    settings = secured.settings("SASLTLS", **oauth, input_topic=topic, group_id=topic)
    async with serving(settings):
        await send(secured.administration, topic, "before")
        assert await results(secured.administration, topic, "before") == RESULTS
        first = file.read_text()
        file.write_text(token())
        # The old token's life has ended once the broker refuses it.
        while not await _is_refused(secured, tmp_path, first):
            pass
        await send(secured.administration, topic, "after")
        assert await results(secured.administration, topic, "after") == RESULTS


async def _is_refused(secured: SecuredKafka, tmp_path: Path, old: str) -> bool:
    file = tmp_path / "old"
    file.write_text(old)
    oauth = {"sasl_mechanism": "OAUTHBEARER", "sasl_oauthbearer_token_endpoint_url": file.as_uri()}
    try:
        await count_partitions(build_connection(read(secured.settings("SASLTLS", **oauth))), [])
    except BrokerUnavailable:
        return True
    return False


async def test_a_token_for_client_credentials_opens(secured: SecuredKafka, endpoint: TokenEndpoint) -> None:
    """One is asked for, and serves every connection."""
    num_given = len(endpoint.given)
    oauth = {
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauthbearer_token_endpoint_url": endpoint.url,
        "sasl_oauthbearer_client_id": CLIENT_ID,
        "sasl_oauthbearer_client_secret": CLIENT_SECRET,
        "sasl_oauthbearer_scope": SCOPE,
        "sasl_oauthbearer_ca_file": secured.certificates.ca_file,
    }
    await _goes_through(secured, secured.settings("SASLTLS", **oauth), delivery="exactly_once")
    # One for the worker, one for the test.
    assert len(endpoint.given) == num_given + 2

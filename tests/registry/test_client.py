"""The client of a schema registry: fail-over, credentials, TLS, and answers that are not trusted."""

from __future__ import annotations

import contextlib
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.fake_registry import FakeRegistry
from tests.security.certificates import Certificates
from worker.broker.connection.certificates import build_ssl_context, load_identity
from worker.errors import BadSettings, RegistryUnavailable
from worker.registry.client import RegistryAccess, RegistryClient
from worker.wire.registered.frame import InvalidSchema, RegisteredSchema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# The port of a service that no machine of the tests has.
NOBODY = "http://127.0.0.1:1"


@contextlib.asynccontextmanager
async def client(*urls: str, **access: Any) -> AsyncIterator[RegistryClient]:
    """Give a client of registries."""
    made = RegistryClient(RegistryAccess(urls=urls, **access))
    try:
        yield made
    finally:
        await made.close()


async def test_a_schema_comes_with_its_references_in_order() -> None:
    """A reference that has references comes after them; each comes once."""
    async with FakeRegistry() as registry:
        registry.add("a", subject="a")
        to_a = {"name": "A", "subject": "a", "version": 1}
        registry.add("b", subject="b/c", references=[to_a])
        found = registry.add("c", references=[{"name": "B", "subject": "b/c", "version": 1}, to_a], kind="JSON")
        async with client(registry.url) as asking:
            assert await asking.fetch_schema(found) == RegisteredSchema("JSON", "c", ("a", "b"))
            assert await asking.fetch_latest("b/c") == RegisteredSchema("AVRO", "b", ("a",))
            assert await asking.fetch_schema(99) is None
            assert await asking.fetch_latest("unknown") is None


async def test_a_protobuf_schema_is_serialized_where_the_registry_can() -> None:
    """The text is taken if the registry has no other format, or answers with bytes that are no base64."""
    async with FakeRegistry() as registry:
        found = registry.add('syntax = "proto3";', kind="PROTOBUF", subject="p")
        user = registry.add("message M {}", kind="PROTOBUF", references=[{"name": "p.proto", "subject": "p", "version": 1}])
        async with client(registry.url) as asking:
            assert await asking.fetch_schema(found) == RegisteredSchema("PROTOBUF", 'syntax = "proto3";')
            registry.serialized[found] = "\n\u0006Ticket\ufffd"
            assert await asking.fetch_latest("p") == RegisteredSchema("PROTOBUF", 'syntax = "proto3";')
            registry.serialized[found] = "YgZwcm90bzM="
            assert await asking.fetch_latest("p") == RegisteredSchema("PROTOBUF", "YgZwcm90bzM=")
            assert await asking.fetch_schema(user) == RegisteredSchema("PROTOBUF", "message M {}", ("YgZwcm90bzM=",))


async def test_the_next_address_is_asked_if_one_fails() -> None:
    """The address that answered is asked first from then on."""
    async with FakeRegistry() as broken, FakeRegistry() as whole:
        broken.fault, found = 503, whole.add("a")
        async with client(NOBODY, broken.url, whole.url) as asking:
            for _ in range(3):
                assert await asking.fetch_schema(found) == RegisteredSchema("AVRO", "a")
        assert (len(broken.asked), len(whole.asked)) == (1, 3)


async def test_no_answer_names_every_address_and_its_reason() -> None:
    """An operator sees what to repair."""
    async with FakeRegistry() as broken, FakeRegistry() as slow:
        broken.fault = 500
        slow.released.clear()
        async with client(NOBODY, broken.url, slow.url, timeout_s=0.2) as asking:
            with pytest.raises(RegistryUnavailable) as caught:
                await asking.fetch_schema(1)
    reasons = str(caught.value).split("; ")
    assert reasons[0].startswith("127.0.0.1:1 does not answer: ")
    assert reasons[1].endswith("gives no answer of a schema registry: HTTP 500 for GET /schemas/ids/1")
    assert reasons[2].endswith("gives no answer within 0.2 s")
    assert not caught.value.is_refusal


@pytest.mark.parametrize("status", [404, 302, 429])
async def test_a_server_that_is_no_registry_is_no_unknown_schema(status: int) -> None:
    """A wrong path would make every record a dead letter, so it is a failure of the registry."""
    async with FakeRegistry() as registry:
        registry.fault = status
        async with client(registry.url) as asking:
            with pytest.raises(RegistryUnavailable, match=f"HTTP {status}"):
                await asking.fetch_schema(1)


async def test_credentials_are_sent_and_a_refusal_says_so() -> None:
    """Basic and bearer are values of one header."""
    async with FakeRegistry(authorization="Bearer abc") as registry:
        async with client(registry.url, authorization="Bearer abc") as asking:
            await asking.check()
        async with client(registry.url, authorization="Basic eHg=") as asking:
            with pytest.raises(RegistryUnavailable, match="refuses the credentials: HTTP 401") as caught:
                await asking.check()
    assert caught.value.is_refusal
    assert "Bearer" not in repr(RegistryAccess(urls=("a",), authorization="Bearer abc"))


async def test_tls_verifies_the_registry_and_shows_the_certificate_of_the_worker(tmp_path: Path) -> None:
    """An authority of one's own is trusted; another one, and a missing certificate of the worker, are refused."""
    certificates = Certificates(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca_file)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(certificates.broker.cert_file, certificates.broker.key_file)
    trusting = build_ssl_context(str(certificates.ca_file), setting="X")
    load_identity(trusting, str(certificates.client.cert_file), str(certificates.client.key_file), None)
    async with FakeRegistry(ssl_context=server) as registry:
        async with client(registry.url, ssl_context=trusting) as asking:
            await asking.check()
        other = build_ssl_context(str(certificates.other_ca_file), setting="X")
        async with client(registry.url, ssl_context=other) as asking:
            with pytest.raises(RegistryUnavailable, match="the certificate does not verify") as caught:
                await asking.check()
        assert caught.value.is_refusal
        without = build_ssl_context(str(certificates.ca_file), setting="X")
        async with client(registry.url, ssl_context=without) as asking:
            with pytest.raises(RegistryUnavailable, match=r"127\.0\.0\.1"):
                await asking.check()


@pytest.mark.parametrize("raw", [b"", b"[]", b"nonsense", b'"a"', b" " * 2_200_000, b"\x00"])
async def test_an_answer_that_is_no_schema_is_a_failure_of_the_registry(raw: bytes) -> None:
    """Also one above the bound of size."""
    async with FakeRegistry() as registry:
        registry.raw = raw
        async with client(registry.url) as asking:
            with pytest.raises(RegistryUnavailable):
                await asking.fetch_schema(1)


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        ([{"subject": "missing", "version": 1}], "lacks version 1 of the subject 'missing'"),
        ([{"subject": 5, "version": 1}], "no subject or no version"),
        ([{"subject": "s", "version": number} for number in range(1, 100)], "more than 64 references"),
    ],
)
async def test_references_are_bounded(references: list[dict[str, Any]], reason: str) -> None:
    """Nothing but the subjects of the registry is fetched."""
    async with FakeRegistry() as registry:
        for _ in range(100):
            registry.add("a")
        found = registry.add("b", references=references)
        async with client(registry.url) as asking:
            with pytest.raises(InvalidSchema, match=reason):
                await asking.fetch_schema(found)


async def test_a_schema_without_a_text_is_refused() -> None:
    """The answer is JSON, but no schema."""
    async with FakeRegistry() as registry:
        registry.raw = json.dumps({"schema": 7}).encode()
        async with client(registry.url) as asking:
            with pytest.raises(InvalidSchema, match="gives no schema"):
                await asking.fetch_schema(1)


async def test_a_schema_is_registered_once_and_looked_up() -> None:
    """A registry that refuses a schema ends the start with its reason."""
    schema = RegisteredSchema("AVRO", '"string"')
    async with FakeRegistry() as registry, client(registry.url) as asking:
        assert await asking.find_id("t/x-value", schema) is None
        assert await asking.register("t/x-value", schema) == await asking.register("t/x-value", schema) == 1
        assert await asking.find_id("t/x-value", schema) == 1
        with pytest.raises(BadSettings, match="refuses the schema of the subject s: it is incompatible"):
            await asking.register("s", RegisteredSchema("AVRO", "incompatible"))

"""An embedded Kafka with one listener for each kind of login, and with ACLs.

Clients of the listener `PLAINTEXT` are administrators. All other clients are the user `gist`, or `nobody`, who has a
password but no rights.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from tests.integration.support.ports import free_port
from tests.security.certificates import HERE, Certificates
from worker.broker.admin.client import admin_client
from worker.broker.connection.connection import Connection
from worker.testbed.embedded_kafka import EmbeddedKafka

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiokafka.admin import AIOKafkaAdminClient

    from tests.security.acls import Acl

USER, NOBODY = "gist", "nobody"
# Listeners by name, with the protocol and the broker's certificate.
_LISTENERS = {
    "TLS": ("SSL", "broker"),
    "MTLS": ("SSL", "broker"),
    "EXPIRED": ("SSL", "expired"),
    "ELSEWHERE": ("SSL", "elsewhere"),
    "SASLTLS": ("SASL_SSL", "broker"),
    "SASLOPEN": ("SASL_PLAINTEXT", "broker"),
}
_MODULES = "org.apache.kafka.common.security"


class SecuredKafka(EmbeddedKafka):
    """An embedded Kafka. `settings` returns the settings of a worker for one of the listeners."""

    def __init__(self, certificates: Certificates) -> None:
        """Choose ports and a password."""
        super().__init__()
        self.certificates = certificates
        self.password = f"pw-{secrets.token_hex(12)}"
        self.ports = {name: free_port() for name in _LISTENERS}
        self._properties = "\n".join([*self._listeners(), *self._logins(), *self._access()]) + "\n"
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            self._format_options += ["--add-scram", f"{mechanism}=[name={USER},password={self.password}]"]

    @property
    def administration(self) -> Connection:
        """The connection of an administrator."""
        return Connection(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=10_000)

    def settings(self, listener: str, **others: Any) -> dict[str, Any]:
        """Return the settings of a worker for a listener, with `others`."""
        protocol, _ = _LISTENERS[listener]
        own = {"bootstrap_servers": f"{HERE}:{self.ports[listener]}", "security_protocol": protocol}
        if protocol.endswith("SSL"):
            own["ssl_ca_file"] = str(self.certificates.ca_file)
        if protocol.startswith("SASL"):
            own |= {"sasl_username": USER, "sasl_password": self.password}
        return own | others

    async def allow(self, acls: Sequence[Acl]) -> None:
        """Grant ACLs, and return once the broker applies them."""
        async with admin_client(self.administration) as admin:
            for acl in acls:
                answer = await admin._send_request(CreateAclsRequest(*acl.filter, 3))
                assert [code for code, *_ in answer.creation_responses] == [0]
            await self._wait_until_known(admin, acls, is_granted=True)

    async def forbid(self, acls: Sequence[Acl]) -> None:
        """Remove ACLs, and return once the broker applies the removal."""
        async with admin_client(self.administration) as admin:
            for acl in acls:
                answer = await admin._send_request(DeleteAclsRequest(*acl.filter, 3))
                assert [len(found) for _, _, found in answer.filter_responses] == [1]
            await self._wait_until_known(admin, acls, is_granted=False)

    async def _wait_until_known(self, admin: AIOKafkaAdminClient, acls: Sequence[Acl], *, is_granted: bool) -> None:
        """Ask the broker until it knows the change. The controller answers first."""
        for acl in acls:
            while bool((await admin._send_request(DescribeAclsRequest(*acl.filter, 3))).resources) != is_granted:  # noqa: ASYNC110  the broker sends no notification
                await asyncio.sleep(0.01)

    def _listeners(self) -> list[str]:
        names = {"PLAINTEXT": self.port, **self.ports}
        open_ = ",".join(f"{name}://{HERE}:{port}" for name, port in names.items())
        protocols = ",".join(f"{name}:{protocol}" for name, (protocol, _) in _LISTENERS.items())
        lines = [
            f"listeners={open_},CONTROLLER://{HERE}:{self._controller_port}",
            f"advertised.listeners={open_}",
            f"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}",
            "ssl.keystore.type=PEM",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self.certificates.ca_file}",
            "ssl.principal.mapping.rules=RULE:^.*[Cc][Nn]=([^,]*).*$/$1/,DEFAULT",
            "listener.name.mtls.ssl.client.auth=required",
        ]
        for name, (_, certificate) in _LISTENERS.items():
            bundle: Path = getattr(self.certificates, certificate).bundle
            lines.append(f"listener.name.{name.lower()}.ssl.keystore.location={bundle}")
        return lines

    def _logins(self) -> list[str]:
        lines = []
        for name in ("sasltls", "saslopen"):
            prefix = f"listener.name.{name}"
            bearer = 'OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            plain = f'user_{USER}="{self.password}" user_{NOBODY}="{self.password}"'
            lines += [
                f"{prefix}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
                f"{prefix}.plain.sasl.jaas.config={_MODULES}.plain.PlainLoginModule required {plain};",
                f"{prefix}.scram-sha-256.sasl.jaas.config={_MODULES}.scram.ScramLoginModule required;",
                f"{prefix}.scram-sha-512.sasl.jaas.config={_MODULES}.scram.ScramLoginModule required;",
                f"{prefix}.oauthbearer.sasl.jaas.config={_MODULES}.oauthbearer.{bearer}",
                # The broker closes a connection when its token expires.
                f"{prefix}.oauthbearer.connections.max.reauth.ms=3600000",
            ]
        return lines

    def _access(self) -> list[str]:
        return [
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
            # The default delays each refused login, and the tests have many.
            "connection.failed.authentication.delay.ms=0",
        ]


def build_token(*, user: str = USER, lifetime_s: float = 600, age_s: float = 0) -> str:
    """Return an unsigned token, which the brokers of the tests accept."""
    now_s = time.time() - age_s
    claims = {"sub": user, "iat": now_s, "exp": now_s + lifetime_s, "jti": secrets.token_hex(8)}
    return ".".join([*(_encode(part) for part in ({"alg": "none"}, claims)), ""])


def _encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

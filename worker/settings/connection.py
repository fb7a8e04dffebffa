"""The settings by which we reach the brokers, and our name in the group; `worker.settings` adds all others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings

from worker.settings.environment import describe_fault, is_address

PREFIX = "GIST_"
# Their characters are the operator's alone.
_SECRETS = {"sasl_username", "sasl_password", "sasl_oauthbearer_client_secret", "ssl_key_password"}


class ConnectionSettings(BaseSettings):
    """Where the brokers are and who we are to them. The names are those of Kafka's own clients."""

    bootstrap_servers: str = Field(
        "localhost:9092",
        min_length=1,
        description="Addresses of brokers, comma-separated. Two or three of the cluster's are enough.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to reach the brokers. Outside a private network choose `SSL` or `SASL_SSL`."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512", description="How to log in with SASL; what the brokers' administrator says."
    )
    sasl_username: str | None = Field(None, description="The user to log in as, with `PLAIN` or SCRAM.")
    sasl_password: SecretStr | None = Field(None, description="The password. It is never shown; better here than as a flag.")
    sasl_oauthbearer_token_endpoint_url: str | None = Field(
        None,
        description="Where tokens come from: `https://…`, asked with client credentials, or `file:///…`, which others renew.",
    )
    sasl_oauthbearer_client_id: str | None = Field(None, description="Who we are to the token endpoint.")
    sasl_oauthbearer_client_secret: SecretStr | None = Field(None, description="The client's secret. It is never shown.")
    sasl_oauthbearer_scope: str | None = Field(None, description="The scope to ask a token for, where the endpoint wants one.")
    sasl_oauthbearer_extensions: str | None = Field(
        None, description="What some brokers want to know beside the token: `name=value`, comma-separated."
    )
    sasl_oauthbearer_ca_file: Path | None = Field(
        None, description="What to trust at the token endpoint, PEM. Unset: the system's certificates."
    )
    allow_plaintext_password: bool = Field(
        default=False, description="Send a password or token unencrypted. Only for a network that nobody reads."
    )
    ssl_ca_file: Path | None = Field(None, description="The certificates to trust, PEM. Unset: the system's.")
    ssl_cert_file: Path | None = Field(None, description="Our own certificate, PEM, where the brokers ask for one.")
    ssl_key_file: Path | None = Field(None, description="The key of our certificate, PEM.")
    ssl_key_password: SecretStr | None = Field(None, description="The password of that key, where it has one. It is never shown.")
    client_id: str = Field("gist-stream", min_length=1, description="Our name in the brokers' logs and quotas.")
    group_id: str = Field(
        "gist-stream",
        min_length=1,
        description="The consumer group. Workers of one group share the partitions; a new group starts anew.",
    )
    group_instance_id: str | None = Field(
        None,
        description="A name that a restart keeps (a StatefulSet's pod name): a restart then causes no rebalance. One process each.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_characters(cls, value: object, info: ValidationInfo) -> object:
        fault = describe_fault(value, is_secret=info.field_name in _SECRETS) if isinstance(value, str) else None
        if fault is not None:
            raise ValueError(fault)
        return value

    @field_validator("bootstrap_servers")
    @classmethod
    def _check_addresses(cls, value: str) -> str:
        addresses = [address.strip() for address in value.split(",") if address.strip()]
        if not addresses or not all(map(is_address, addresses)):
            raise ValueError(
                "an address is host:port, several with a comma between them; the port is a number from 1 to 65535, "
                "and no protocol precedes the host"
            )
        return ",".join(addresses)

    @model_validator(mode="after")
    def _can_log_in(self) -> Self:
        is_sasl, is_oauth = self.security_protocol.startswith("SASL"), self.sasl_mechanism == "OAUTHBEARER"
        url = (self.sasl_oauthbearer_token_endpoint_url or "") if is_sasl and is_oauth else ""
        contradictions = [
            (
                is_sasl and not is_oauth and not (self.sasl_username and self.sasl_password),
                "SASL_USERNAME and GIST_SASL_PASSWORD are both needed",
            ),
            (is_sasl and is_oauth and not url, "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is needed with OAUTHBEARER"),
            (
                bool(url) and not url.startswith(("https://", "http://", "file:///")),
                "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL must begin with https:// or file:///",
            ),
            (
                url.startswith("http") and not (self.sasl_oauthbearer_client_id and self.sasl_oauthbearer_client_secret),
                "SASL_OAUTHBEARER_CLIENT_ID and GIST_SASL_OAUTHBEARER_CLIENT_SECRET are both needed to ask the token endpoint",
            ),
            (
                url.startswith("http://") and not self.allow_plaintext_password,
                "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL sends the secret readably: use https:// or set GIST_ALLOW_PLAINTEXT_PASSWORD",
            ),
            (
                self.security_protocol == "SASL_PLAINTEXT" and not self.allow_plaintext_password,
                f"SECURITY_PROTOCOL=SASL_PLAINTEXT {self._exposure}: use SASL_SSL or set GIST_ALLOW_PLAINTEXT_PASSWORD",
            ),
            (bool(self.ssl_key_file) != bool(self.ssl_cert_file), "SSL_CERT_FILE and GIST_SSL_KEY_FILE need each other"),
            (
                any("=" not in it for it in (self.sasl_oauthbearer_extensions or "a=b").split(",")),
                "SASL_OAUTHBEARER_EXTENSIONS must be name=value, comma-separated",
            ),
        ]
        for is_wrong, what in contradictions:
            if is_wrong:
                raise ValueError(PREFIX + what)
        return self

    @property
    def _exposure(self) -> str:
        exposed = {"PLAIN": "sends the password readably", "OAUTHBEARER": "sends the token readably"}
        return exposed.get(self.sasl_mechanism, "lets a listener guess the password at leisure, and read everything else")

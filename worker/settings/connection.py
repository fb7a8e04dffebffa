"""The settings of the connection to the brokers and of the membership in the consumer group."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.settings.environment import describe_fault, is_address

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = "GIST_"
#: The advice of most contradictions between two settings.
CHANGE_ONE = ": change one of them"
#: The advice if two settings name the same thing.
SET_ONE = ": set only one of them"
# A secret may have any characters, such as quotation marks.
_SECRETS = {
    "sasl_username",
    "sasl_password",
    "sasl_oauthbearer_client_secret",
    "ssl_key_password",
    "schema_registry_basic_auth_user_info",
    "schema_registry_bearer_auth_token",
    "schema_registry_ssl_key_password",
}


def raise_first(contradictions: Iterable[tuple[bool, str]], *, advice: str = "") -> None:
    """Raise `ValueError` for the first contradiction that is true. Its message starts with a name without the prefix."""
    for is_wrong, message in contradictions:
        if is_wrong:
            raise ValueError(f"{PREFIX}{message}{advice}")


class ConnectionSettings(BaseSettings):
    """The brokers, the login and the consumer group. The names are those of the Kafka clients."""

    # Only the last class of the chain is built, when the settings are read.
    model_config = SettingsConfigDict(defer_build=True)

    bootstrap_servers: str = Field(
        "localhost:9092",
        min_length=1,
        description=(
            "Addresses of brokers, comma-separated. Two or three are enough: the client learns the others from them. "
            "Example: `kafka-1:9092,kafka-2:9092`."
        ),
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="Protocol of the connections to the brokers. Choose `SSL` or `SASL_SSL` outside a private network.",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512",
        description=(
            "SASL mechanism of the login. Take the one that the administrator of the brokers names. Read only with "
            "`SASL_PLAINTEXT` or `SASL_SSL`."
        ),
    )
    sasl_username: str | None = Field(None, description="User name of the login with `PLAIN` or SCRAM. Example: `gist-stream`.")
    sasl_password: SecretStr | None = Field(
        None,
        description=(
            "Password of the login with `PLAIN` or SCRAM. It is never logged. Set the variable instead of the flag, "
            "because other users of the machine can read flags."
        ),
    )
    sasl_oauthbearer_method: Literal["default", "aws_msk_iam"] = Field(
        "default",
        description=(
            "Origin of the tokens for OAUTHBEARER. `default` reads them from `GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL`. "
            "`aws_msk_iam` signs them with the credentials of AWS for Amazon MSK, in the region of the brokers' addresses or of "
            "`AWS_REGION`; it needs the extra `msk`."
        ),
    )
    sasl_oauthbearer_token_endpoint_url: str | None = Field(
        None,
        description=(
            "Source of the tokens for OAUTHBEARER: an `https://` address, which the worker asks with its client "
            "credentials, or a `file:///` address of a file that another process renews. Example: "
            "`https://auth.example.com/token`."
        ),
    )
    sasl_oauthbearer_client_id: str | None = Field(
        None, description="Client id at the token endpoint. Needed with an `https://` endpoint. Example: `gist-stream`."
    )
    sasl_oauthbearer_client_secret: SecretStr | None = Field(
        None, description="Client secret at the token endpoint. Needed with an `https://` endpoint. It is never logged."
    )
    sasl_oauthbearer_scope: str | None = Field(
        None, description="Scope of the token. Set this if the token endpoint requires a scope. Example: `kafka`."
    )
    sasl_oauthbearer_extensions: str | None = Field(
        None,
        description=(
            "SASL extensions that are sent with the token, as `name=value`, comma-separated. Set this if the brokers "
            "require extensions. Example: `logicalCluster=lkc-1`."
        ),
    )
    sasl_oauthbearer_ca_file: Path | None = Field(
        None,
        description=(
            "PEM file of the certificates to trust at the token endpoint. Unset: the certificates of the system. Set "
            "this for a private certificate authority."
        ),
    )
    allow_plaintext_password: bool = Field(
        default=False,
        description=(
            "Permit a login whose password or token can be read or guessed on the network, at the brokers and at the schema "
            "registry. Off by default. Set `true` "
            "only in a private network."
        ),
    )
    ssl_ca_file: Path | None = Field(
        None,
        description=(
            "PEM file of the certificates to trust at the brokers. Unset: the certificates of the system. Set this for "
            "a private certificate authority. Example: `/etc/kafka/ca.pem`."
        ),
    )
    ssl_cert_file: Path | None = Field(
        None,
        description=(
            "PEM file of the client certificate. Set this and `GIST_SSL_KEY_FILE` if the brokers require client certificates."
        ),
    )
    ssl_key_file: Path | None = Field(None, description="PEM file of the key of the client certificate.")
    ssl_key_password: SecretStr | None = Field(
        None, description="Password of the file in `GIST_SSL_KEY_FILE`. Unset: the file has no password. It is never logged."
    )
    client_id: str = Field(
        "gist-stream",
        min_length=1,
        description=(
            "Name of the worker in logs, metrics and quotas of the brokers. Set a name for each deployment to tell them apart."
        ),
    )
    client_rack: str = Field(
        "",
        description=(
            "Rack or availability zone of the worker. Brokers with `replica.selector.class=RackAwareReplicaSelector` then serve "
            "records from a replica in the same rack, which saves traffic between zones. Unset: records come from the leader. "
            "Example: `eu-central-1a`."
        ),
    )
    group_id: str = Field(
        "gist-stream",
        min_length=1,
        description=(
            "Name of the consumer group. Workers with the same name share the partitions of the input topic. A new name"
            " reads the topic again, from `GIST_AUTO_OFFSET_RESET`."
        ),
    )
    group_instance_id: str | None = Field(
        None,
        description=(
            "Name of this group member that is the same after a restart, so that a restart within the session timeout "
            "causes no rebalance. Unset: each start is a new member. Every process needs its own name. Example: the "
            "name of a pod of a StatefulSet, `gist-stream-0`."
        ),
    )
    group_protocol: Literal["auto", "consumer", "classic"] = Field(
        "auto",
        description=(
            "Protocol of the consumer group, by Kafka's names. `consumer` (KIP-848) needs Kafka 4.0 or newer, and pauses only the "
            "partitions that move when a worker joins or leaves. `classic` works with every broker, and pauses all partitions. "
            "`auto`: `consumer` if all brokers offer it, the cluster has it turned on, and the session timeout of the group is at "
            "most `GIST_SESSION_TIMEOUT_MS`; else `classic`. The timeouts are compared only if `GIST_SESSION_TIMEOUT_MS` is below "
            "45000; this needs the right `DescribeConfigs` on the group. Choose `classic` to keep a running group as it is, or "
            "for static members that are killed and restarted: docs/operate/scaling.md compares both. Choose `consumer` to "
            "stop the start if the brokers do not offer it."
        ),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_characters(cls, value: object, info: ValidationInfo) -> object:
        # A list is a value that was separated at its commas.
        for text in value if isinstance(value, list) else [value]:
            fault = describe_fault(text, is_secret=info.field_name in _SECRETS) if isinstance(text, str) else None
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
        is_msk = self.sasl_oauthbearer_method == "aws_msk_iam"
        url = (self.sasl_oauthbearer_token_endpoint_url or "") if is_sasl and is_oauth else ""
        contradictions = [
            (
                is_sasl and not is_oauth and not (self.sasl_username and self.sasl_password),
                "SASL_USERNAME and GIST_SASL_PASSWORD are both needed",
            ),
            (is_sasl and is_oauth and not (url or is_msk), "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is needed with OAUTHBEARER"),
            (
                is_msk and not (self.security_protocol == "SASL_SSL" and is_oauth and not url),
                "SASL_OAUTHBEARER_METHOD=aws_msk_iam needs GIST_SECURITY_PROTOCOL=SASL_SSL, OAUTHBEARER and no token endpoint",
            ),
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
                "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL sends the secret unencrypted: use https or set GIST_ALLOW_PLAINTEXT_PASSWORD",
            ),
            (
                self.security_protocol == "SASL_PLAINTEXT" and not self.allow_plaintext_password,
                f"SECURITY_PROTOCOL=SASL_PLAINTEXT {self._exposure}: use SASL_SSL or set GIST_ALLOW_PLAINTEXT_PASSWORD",
            ),
            (bool(self.ssl_key_file) != bool(self.ssl_cert_file), "SSL_CERT_FILE and GIST_SSL_KEY_FILE must be set together"),
            (
                any("=" not in extension for extension in (self.sasl_oauthbearer_extensions or "a=b").split(",")),
                "SASL_OAUTHBEARER_EXTENSIONS must be name=value, comma-separated",
            ),
        ]
        raise_first(contradictions)
        return self

    @property
    def _exposure(self) -> str:
        exposed = {"PLAIN": "sends the password unencrypted", "OAUTHBEARER": "sends the token unencrypted"}
        return exposed.get(self.sasl_mechanism, "lets a listener guess the password offline, and read all records")

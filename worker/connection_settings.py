"""The settings by which we reach the brokers, and our name in the group; `worker.settings` adds all others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class ConnectionSettings(BaseSettings):
    """Where the brokers are and who we are to them."""

    bootstrap_servers: str = Field(
        "localhost:9092",
        min_length=1,
        description="Addresses of brokers, comma-separated. Two or three of the cluster's are enough.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to reach the brokers. Outside a private network choose `SSL` or `SASL_SSL`."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How to log in with SASL; what the brokers' administrator says."
    )
    sasl_username: str | None = Field(None, description="The user to log in as.")
    sasl_password: SecretStr | None = Field(None, description="The password. It is never shown; better here than as a flag.")
    allow_plaintext_password: bool = Field(
        default=False, description="Send a password over a connection that is not encrypted. Only for a network that nobody reads."
    )
    ssl_ca_file: Path | None = Field(None, description="The certificates to trust, PEM. Unset: the system's.")
    ssl_cert_file: Path | None = Field(None, description="Our own certificate, PEM, where the brokers ask for one.")
    ssl_key_file: Path | None = Field(None, description="The key of our certificate, PEM.")
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

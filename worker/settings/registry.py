"""The settings of the schema registry and of the format of the results."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  pydantic reads the annotations at run time
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from worker.settings.connection import raise_first
from worker.settings.input import InputSettings


class RegistrySettings(InputSettings):
    """The schema registry, and what it is used for. The names are those of Confluent's clients."""

    schema_registry_url: str = Field(
        "",
        description=(
            "Addresses of schema registries with Confluent's REST API, comma-separated. If an address fails, the worker asks the "
            "next address. Set this to read Avro, JSON Schema and Protobuf, and for `GIST_OUTPUT_FORMAT=avro` and `json_schema`. "
            "This needs the extra `avro`; Protobuf needs the extra `protobuf`, too. "
            "Example: `https://registry-1:8081,https://registry-2:8081`."
        ),
    )
    schema_registry_basic_auth_user_info: SecretStr | None = Field(
        None,
        description=(
            "User and password of the schema registry, with a colon between them. In Confluent Cloud these are the key and the "
            "secret of the registry, not those of the cluster. It is never logged. Example: `user:password`."
        ),
    )
    schema_registry_bearer_auth_token: SecretStr | None = Field(
        None, description="Token for the schema registry, instead of user and password. It is never logged."
    )
    schema_registry_ssl_ca_file: Path | None = Field(
        None,
        description=(
            "PEM file of the certificates to trust at the schema registry. Unset: the certificates of the system. Set this for a "
            "private certificate authority. Example: `/etc/gist-stream/registry-ca.pem`."
        ),
    )
    schema_registry_ssl_cert_file: Path | None = Field(
        None,
        description=(
            "PEM file of the client certificate for the schema registry. Set this and `GIST_SCHEMA_REGISTRY_SSL_KEY_FILE` if the "
            "registry requires client certificates."
        ),
    )
    schema_registry_ssl_key_file: Path | None = Field(
        None, description="PEM file of the key of the client certificate for the schema registry."
    )
    schema_registry_ssl_key_password: SecretStr | None = Field(
        None,
        description=(
            "Password of the file in `GIST_SCHEMA_REGISTRY_SSL_KEY_FILE`. Unset: the file has no password. It is never logged."
        ),
    )
    output_format: Literal["json", "avro", "json_schema", "connect_json"] = Field(
        "json",
        description=(
            "Format of the results. `json`: plain JSON. `avro` and `json_schema`: with a schema in the schema registry. "
            "`connect_json`: an object with `schema` and `payload`, which Kafka Connect reads without a registry; the schema makes "
            "each value larger. `avro` and `connect_json` need `GIST_OUTPUT_LAYOUT=split` or `flat`, because the fields of an "
            "input are unknown. Dead letters are plain JSON in every format."
        ),
    )
    schema_registry_auto_register: bool = Field(
        default=True,
        description=(
            "Register the schemas of the results at the start. `false` only looks them up, and the worker does not start if one is "
            "missing. Choose `false` where the worker has no right to write schemas."
        ),
    )
    schema_registry_subject_name_strategy: Literal["topic", "record", "topic_record"] = Field(
        "topic",
        description=(
            "Names of the subjects of the results. `topic`: `<topic>-value`. `record`: the name of the record, such as "
            "`gist_stream.v1.Embedding`. `topic_record`: both. Keep the default unless other programs expect another name."
        ),
    )

    @field_validator("schema_registry_url")
    @classmethod
    def _check_urls(cls, value: str) -> str:
        urls = [url.strip().rstrip("/") for url in value.split(",")] if value else []
        for url in urls:
            try:
                parts = urlsplit(url)
                is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
            except ValueError:
                is_valid = False
            if not is_valid or parts.query or parts.fragment:
                raise ValueError("an address begins with http:// or https:// and has a host, several with a comma between them")
            if parts.username is not None:
                raise ValueError("an address contains no user: set GIST_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO")
        return ",".join(urls)

    @model_validator(mode="after")
    def _agree_on_registry(self) -> Self:
        basic, bearer = self.schema_registry_basic_auth_user_info, self.schema_registry_bearer_auth_token
        is_plain = any(url.startswith("http://") for url in self.schema_registry_url.split(","))
        contradictions = [
            (
                self.output_format in {"avro", "json_schema"} and not self.schema_registry_url,
                f"OUTPUT_FORMAT={self.output_format} needs GIST_SCHEMA_REGISTRY_URL",
            ),
            (
                self.output_format in {"avro", "connect_json"} and self.output_layout not in {"split", "flat"},
                f"OUTPUT_FORMAT={self.output_format} needs GIST_OUTPUT_LAYOUT=split or flat: a schema needs known fields",
            ),
            (
                bool(basic) and bool(bearer),
                "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO and GIST_SCHEMA_REGISTRY_BEARER_AUTH_TOKEN are both set: unset one",
            ),
            (
                basic is not None and ":" not in basic.get_secret_value(),
                "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO must be a user and a password with a colon between them",
            ),
            (
                bool(basic or bearer) and is_plain and not self.allow_plaintext_password,
                "SCHEMA_REGISTRY_URL sends the credentials unencrypted: use https or set GIST_ALLOW_PLAINTEXT_PASSWORD",
            ),
            (
                bool(self.schema_registry_ssl_cert_file) != bool(self.schema_registry_ssl_key_file),
                "SCHEMA_REGISTRY_SSL_CERT_FILE and GIST_SCHEMA_REGISTRY_SSL_KEY_FILE must be set together",
            ),
        ]
        raise_first(contradictions)
        return self

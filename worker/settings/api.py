"""The settings of the HTTP endpoint that computes texts of clients."""

from __future__ import annotations

from pydantic import Field

from worker.settings.delivery import DeliverySettings


class ApiSettings(DeliverySettings):
    """The HTTP endpoint for queries: address, access and bounds."""

    api: bool = Field(
        default=False,
        description=(
            "Whether the worker computes texts of HTTP clients next to the stream, with the same model. The default opens no port."
            " `gist-stream serve` opens the endpoint without Kafka. docs/use/api.md describes the routes."
        ),
    )
    api_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description=(
            "Address of the HTTP endpoint for queries. The default is reachable from this machine only. Set `0.0.0.0` for other"
            " machines, with `GIST_API_TOKENS_FILE` and TLS."
        ),
    )
    api_port: int = Field(
        8090,
        ge=0,
        le=65_535,
        description=(
            "Port of the HTTP endpoint for queries, which differs from the port of probes and metrics. The replicas of"
            " `gist-stream run --replicas` share this port. 0: a free port, which the log names."
        ),
    )
    api_tokens_file: str = Field(
        "",
        description=(
            "File with the accepted bearer tokens, one on each line; lines that start with `#` are comments. The worker reads the"
            " file again when it changes. Unset: every client is accepted. Set this if other machines reach the endpoint."
            " Example: `/run/secrets/gist-api-tokens`."
        ),
    )
    api_tls_cert_file: str = Field(
        "",
        description=(
            "PEM file with the certificate of the HTTP endpoint for queries and its chain. Unset: no TLS. Needs"
            " `GIST_API_TLS_KEY_FILE`. Set this if no proxy in front of the worker ends TLS. Example: `/run/secrets/tls.crt`."
        ),
    )
    api_tls_key_file: str = Field(
        "",
        description=(
            "PEM file with the key of `GIST_API_TLS_CERT_FILE`, without a password. Unset: no TLS. Example: `/run/secrets/tls.key`."
        ),
    )
    api_cors_origins: str = Field(
        "",
        description=(
            "Origins of web pages whose scripts may call the HTTP endpoint for queries, comma-separated; `*` for every page. Unset:"
            " no page of another origin. Set this only for pages that call the endpoint directly. Example: `https://search.example.com`."
        ),
    )
    api_max_body_bytes: int = Field(
        2_097_152,
        ge=1_024,
        le=1_073_741_824,
        description=(
            "Maximum size of the body of an HTTP request, in bytes; a larger body gets status 413. The event loop parses a body of"
            " the default size in a few milliseconds. Raise this for many long texts in one request. `GIST_MAX_TEXT_CHARS` bounds"
            " each text."
        ),
    )
    api_max_texts: int = Field(
        256,
        ge=1,
        le=65_536,
        description=(
            "Maximum texts of one HTTP request; a request with more gets status 400 (routes of TEI: 422). Raise this for"
            " clients that send large lists, and `GIST_API_MAX_QUEUED_TEXTS` with it."
        ),
    )
    api_max_queued_texts: int = Field(
        1_024,
        ge=1,
        le=1_048_576,
        description=(
            "Maximum texts of all HTTP requests in flight. A request above this bound gets status 429 at once, with `Retry-After`."
            " The default is a few batches of short texts. Lower this for a shorter wait; raise this if clients come in bursts."
        ),
    )
    api_timeout_ms: int = Field(
        10_000,
        ge=10,
        le=600_000,
        description=(
            "Maximum time from the headers of an HTTP request to its answer, in milliseconds; later the client gets status 504, or"
            " 408 if its body did not arrive. The default suits waiting users. Raise this for slow machines and large requests."
        ),
    )

"""All settings of a worker: each is declared once, with its limits and its help.

A value comes from a flag, else from the environment (`GIST_...`), else from the file `.env`. `worker.settings.documents` writes
`.env.example` and docs/reference/settings.md from these classes.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from worker.errors import BadSettings
from worker.settings.api import ApiSettings
from worker.settings.connection import CHANGE_ONE, PREFIX, raise_first
from worker.settings.environment import ENV_FILE, ENV_FILE_ENCODING, check_file, describe_unreadable
from worker.settings.invalid_values import describe_invalid


class Settings(ApiSettings):
    """The settings of one worker."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding=ENV_FILE_ENCODING,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    # ── limits of a record ───────────────────────────────────────────────────────────────────────────────────────────────────
    max_message_bytes: int = Field(
        1_048_576,
        ge=1,
        description=(
            "Maximum size of an input record, in bytes; a larger record is a dead letter. The default is the default "
            "limit of Kafka."
        ),
    )
    max_headers: int = Field(
        32,
        ge=0,
        description=(
            "Maximum number of headers of an input record; a record with more is a dead letter. All headers are copied "
            "to the outputs."
        ),
    )
    max_headers_bytes: int = Field(
        16_384,
        ge=0,
        description="Maximum size of all headers of an input record, in bytes; a record with larger headers is a dead letter.",
    )
    max_id_chars: int = Field(
        256, ge=1, description="Maximum length of the id of a record, in characters; a record with a longer id is a dead letter."
    )
    max_text_chars: int = Field(
        1_000_000,
        ge=1,
        description=(
            "Maximum length of a text, in characters; a record with a longer text is a dead letter. Lower this if long "
            "texts delay the others."
        ),
    )
    max_dead_letter_payload_bytes: int = Field(
        262_144,
        ge=0,
        le=700_000,
        description=(
            "Maximum part of a record that its dead letter contains, in bytes. A record that is cut cannot be replayed."
            " Raise this up to the size of the largest records."
        ),
    )

    # ── operation ────────────────────────────────────────────────────────────────────────────────────────────────────────────
    http_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description=(
            "Address of the HTTP endpoints `/livez`, `/readyz` and `/metrics`. The default is reachable from this "
            "machine only. Set `0.0.0.0` in a container; `unix:<path>` is a socket."
        ),
    )
    http_port: int = Field(
        8080,
        ge=0,
        le=65_535,
        description=(
            "Port of the HTTP endpoints. 0: a free port, which the log names. Each worker on a machine needs its own port."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description=("Lowest level of logged events. No level logs texts or secrets. `debug` includes events of the Kafka client."),
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", description="Format of the log. `auto`: `pretty` in a terminal, else `json`, with one object on each line."
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        contradictions = [
            (
                self.resume_in_flight_tokens > self.max_in_flight_tokens,
                "RESUME_IN_FLIGHT_TOKENS is above GIST_MAX_IN_FLIGHT_TOKENS",
            ),
            (self.max_in_flight_tokens < self.max_batch_tokens, "MAX_IN_FLIGHT_TOKENS is below GIST_MAX_BATCH_TOKENS"),
            (0 < self.max_batch_tokens < self.max_seq_length, "MAX_BATCH_TOKENS is below GIST_MAX_SEQ_LENGTH"),
            (
                self.long_text == "window" and 0 < self.max_seq_length < 2 * self.window_overlap_tokens + 2,
                "WINDOW_OVERLAP_TOKENS is over half of a window of GIST_MAX_SEQ_LENGTH",
            ),
            (self.drain_timeout_ms >= self.rebalance_timeout_ms, "DRAIN_TIMEOUT_MS is not below GIST_REBALANCE_TIMEOUT_MS"),
            (self.rebalance_timeout_ms >= self.request_timeout_ms, "REBALANCE_TIMEOUT_MS is not below GIST_REQUEST_TIMEOUT_MS"),
            (
                self.session_timeout_ms < 3 * self.heartbeat_interval_ms,
                "HEARTBEAT_INTERVAL_MS is over a third of GIST_SESSION_TIMEOUT_MS",
            ),
            (
                bool(self.backfill_topic) and 0 < self.max_batch_tokens < self.max_backfill_batch_tokens,
                "MAX_BACKFILL_BATCH_TOKENS is above GIST_MAX_BATCH_TOKENS",
            ),
        ]
        raise_first(contradictions, advice=CHANGE_ONE)
        return self

    @model_validator(mode="after")
    def _outputs_agree(self) -> Self:
        contradictions = [
            (
                self.long_text == "chunks" and self.output_layout == "enriched",
                "LONG_TEXT=chunks needs GIST_OUTPUT_LAYOUT split, flat or qdrant: enriched has one message for each record",
            ),
            (
                self.unchanged_text == "skip" and self.output_layout in ("enriched", "qdrant"),
                "UNCHANGED_TEXT=skip keeps other changed fields out of the outputs of GIST_OUTPUT_LAYOUT enriched and qdrant",
            ),
            (
                self.output_layout == "qdrant" and (self.embedding_encoding != "float" or "embed" not in (self.tasks or {"embed"})),
                "OUTPUT_LAYOUT=qdrant needs GIST_EMBEDDING_ENCODING=float and the task embed in GIST_TASKS",
            ),
            (
                bool(self.api_tls_cert_file) != bool(self.api_tls_key_file),
                "API_TLS_CERT_FILE and GIST_API_TLS_KEY_FILE must be set together",
            ),
            (self.api_max_texts > self.api_max_queued_texts, "API_MAX_TEXTS is above GIST_API_MAX_QUEUED_TEXTS"),
        ]
        raise_first(contradictions, advice=CHANGE_ONE)
        return self


def read(flags: dict[str, Any] | None = None) -> Settings:
    """Read the settings; raises `BadSettings` with one line that names each invalid setting. No value of a secret is in it."""
    check_file(PREFIX)
    try:
        return Settings(**(flags or {}))
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0]).removeprefix(PREFIX.lower()) if problem["loc"] else ""
            reason = describe_invalid(problem, name, Settings.model_fields)
            problems.append(f"{PREFIX}{name.upper()}: {reason}" if name else reason)
        raise BadSettings("; ".join(problems)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(describe_unreadable(error)) from None

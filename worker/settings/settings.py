"""Every knob, once: what it does, its bounds, and how to choose it.

Read from flags, the environment (`GIST_...`) and a `.env` file, in this order. The flags of `gist-stream run`, `.env.example` and
the table in the README are made from this class by `worker.settings.documents`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from worker.errors import BadSettings
from worker.settings.connection import PREFIX
from worker.settings.environment import ENV_FILE, ENV_FILE_ENCODING, describe_unreadable
from worker.settings.topics import TopicSettings

DEFAULT_MODEL = "package:worker/checkpoints/minilm"
TaskName = Literal["embed", "classify", "ner"]


class Settings(TopicSettings):
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

    # ── model ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
    model: str = Field(
        DEFAULT_MODEL,
        min_length=1,
        description="A directory, `package:<package>/<folder>`, or a hub's `org/name@revision`: a checkpoint, or a bare encoder.",
    )
    cache_dir: str = Field(
        "",
        description="Directory of the kernels that are compiled at the first start. Unset: `gist-stream` in the user's cache. "
        "Set it where that cannot be written, or is lost at a restart, as in a container: `/var/cache/gist-stream`.",
    )
    rollout_file: str = Field(
        "", description="A plan by which other models take over, each at an offset, without a stop: see docs/repair.md. Watched."
    )
    tasks: Annotated[frozenset[TaskName], NoDecode] = Field(
        frozenset(),
        description="Tasks to serve, comma-separated: embed, classify, ner. Unset: all that the model can. Fewer cost less.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the model runs. `auto`: on a GPU if there is one.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description=(
            "Number format of the encoder. `auto`: bfloat16 on a GPU; on a CPU the fastest arithmetic whose vectors have a cosine "
            "of at least 0.999 to float32, as the first start measures. Set `float32` where vectors must not depend on the machine."
        ),
    )
    backend: Literal["auto", "eager", "compiled", "openvino", "int8"] = Field(
        "auto",
        description="How the encoder runs. `auto`: the fastest here that is as exact. `int8`: faster on a CPU, less exact.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Threads of the matrix products. 0: one for each core that the process may use, its container's limit counted.",
    )
    max_concurrent_batches: int = Field(
        0,
        ge=0,
        le=64,
        description=(
            "Forward passes at a time, which share a CPU's threads: the next begins where 128 tokens wait for it. "
            "0: up to four, as it divides; on a GPU two, of which one computes."
        ),
    )
    tokenizer_threads: int = Field(
        0, ge=0, le=1024, description="Threads of the tokenizer. 0: one for every four cores, which is enough on a CPU."
    )
    max_seq_length: int = Field(
        0,
        ge=0,
        le=8192,
        description="What the model reads at once; `GIST_LONG_TEXT` is about longer texts. 0: what it was published for.",
    )
    long_text: Literal["truncate", "window"] = Field(
        "truncate",
        description="Longer texts: `truncate` reads their beginning and says so in a header; `window` reads all, in pieces.",
    )
    window_overlap_tokens: int = Field(
        32,
        ge=1,
        le=4096,
        description="Tokens that two windows share. Twice the context that an entity needs on each side; more costs more.",
    )
    max_windows: int = Field(
        16,
        ge=2,
        le=256,
        description="The most windows of a text; the rest is truncated. They share a forward pass.",
    )
    embedding_encoding: Literal["float", "float32", "float16", "int8", "binary"] = Field(
        "float",
        description="How vectors are written. `float32` is as exact as `float` in half the bytes, `int8` nearly, in an eighth.",
    )

    # ── batching ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
    max_batch_tokens: int = Field(
        4096,
        ge=8,
        le=1_048_576,
        description="Tokens of one forward pass. More is faster until the caches overflow; less answers sooner.",
    )
    max_batch_records: int = Field(512, ge=1, le=65_536, description="Records of one forward pass, whatever their tokens.")
    max_batch_delay_ms: float = Field(
        2.0,
        ge=0,
        le=60_000,
        description="How long a record waits for company while the model is idle; not at all after a pause of the same length.",
    )
    max_in_flight_tokens: int = Field(
        65_536,
        ge=16,
        description="Above this no more records are read. Sixteen batches hide the brokers' answers; more takes longer to drain.",
    )
    resume_in_flight_tokens: int = Field(32_768, ge=8, description="At or below this reading goes on. Half of the upper bound.")
    max_poll_records: int = Field(500, ge=1, le=65_536, description="Records taken at a time from what was fetched.")

    # ── delivery ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="`exactly_once`: outputs and offset are one transaction. Else a crash may repeat outputs, with the same id.",
    )
    transaction_interval_ms: int = Field(
        100,
        ge=0,
        le=10_000,
        description="Exactly once: transactions of a partition begin so far apart; with over 8 partitions, in proportion further. "
        "More costs less, and readers see results later.",
    )
    max_transaction_records: int = Field(
        1000, ge=1, le=65_536, description="Exactly once: a transaction of so many records does not wait for the interval."
    )
    transaction_timeout_ms: int = Field(
        30_000,
        ge=1_000,
        le=900_000,
        description="Exactly once: how long readers may wait behind a dead worker's transaction; a takeover frees them sooner.",
    )
    allow_old_brokers: bool = Field(
        default=False, description="Exactly once on brokers before Kafka 4.0, where a takeover may cause duplicates."
    )
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = Field(
        "zstd",
        description="Compression of what is published. `zstd` shrinks vectors as JSON to 37 %, at a tenth of the cost of `lz4`.",
    )
    commit_interval_ms: int = Field(
        1000, ge=10, le=60_000, description="How often offsets are committed: the most work that a crash repeats, in time."
    )
    drain_timeout_ms: int = Field(
        20_000,
        ge=100,
        le=600_000,
        description="How long work in flight may take to finish when partitions are taken away or we stop.",
    )
    session_timeout_ms: int = Field(
        45_000,
        ge=6_000,
        le=1_800_000,
        description="Silence after which the group gives our partitions away. Less takes over sooner.",
    )
    heartbeat_interval_ms: int = Field(
        1_000,
        ge=100,
        le=600_000,
        description="How late a worker learns that the group changes; at most a third of the session timeout.",
    )
    rebalance_timeout_ms: int = Field(
        60_000, ge=6_000, le=1_800_000, description="How long the group waits for its members to hand partitions back."
    )
    request_timeout_ms: int = Field(
        90_000, ge=1_000, le=1_800_000, description="How long one request to a broker may take; longer than the rebalance timeout."
    )
    delivery_timeout_ms: int = Field(
        30_000, ge=1_000, le=600_000, description="How long acknowledgements may take. A broker's failover needs 15 s."
    )
    retry_backoff_max_ms: int = Field(
        10_000, ge=100, le=600_000, description="The longest pause before a failed partition is tried again."
    )
    max_consecutive_failures: int = Field(
        100,
        ge=1,
        description="The worker stops after so many failures: of a topic that had no result yet, at any stage (exit code 8); "
        "of the model, with no success between (exit code 6). Raise this where a topic begins with more bad records.",
    )
    max_consecutive_dead_letters: int = Field(
        0,
        ge=0,
        description="The worker stops (exit code 8) where so many records of a topic in a row have no result, also after earlier "
        "results. 0, the default: no bound, a bad record costs only itself. Example: 1000, where a person should look first.",
    )
    dead_letter_hold_ms: int = Field(
        10_000,
        ge=0,
        le=600_000,
        description="How long a dead letter waits for the first result of its topic. Until then its offset is not committed. "
        "Raise this for a slow topic; 0 publishes each dead letter at once.",
    )

    # ── limits of a record ───────────────────────────────────────────────────────────────────────────────────────────────────
    max_message_bytes: int = Field(1_048_576, ge=1, description="A larger record is a dead letter.")
    max_headers: int = Field(32, ge=0, description="A record with more headers is a dead letter.")
    max_headers_bytes: int = Field(16_384, ge=0, description="A record whose headers are larger is a dead letter.")
    max_id_chars: int = Field(256, ge=1, description="A record with a longer id is a dead letter.")
    max_text_chars: int = Field(1_000_000, ge=1, description="A record with a longer text is a dead letter.")
    max_dead_letter_payload_bytes: int = Field(
        262_144,
        ge=0,
        le=700_000,
        description="How much of a record its dead letter carries. Below this it can be replayed from there.",
    )

    # ── operation ────────────────────────────────────────────────────────────────────────────────────────────────────────────
    http_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Where `/livez`, `/readyz` and `/metrics` listen. `0.0.0.0` in a container; `unix:<path>` for a socket.",
    )
    http_port: int = Field(8080, ge=0, le=65_535, description="0: any free port, which the log names.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged. Never a text or a secret.")
    log_format: Literal["auto", "json", "pretty"] = Field("auto", description="`auto`: pretty in a terminal, JSON lines elsewhere.")

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
            (
                self.max_in_flight_tokens < self.max_batch_tokens,
                "MAX_IN_FLIGHT_TOKENS is below GIST_MAX_BATCH_TOKENS: no batch would fill",
            ),
            (
                self.max_batch_tokens < self.max_seq_length,
                "MAX_BATCH_TOKENS is below GIST_MAX_SEQ_LENGTH: the longest text would not fit",
            ),
            (
                self.long_text == "window" and 0 < self.max_seq_length < 2 * self.window_overlap_tokens + 2,
                "WINDOW_OVERLAP_TOKENS is over half of what a window of GIST_MAX_SEQ_LENGTH holds",
            ),
            (self.drain_timeout_ms >= self.rebalance_timeout_ms, "DRAIN_TIMEOUT_MS is not below GIST_REBALANCE_TIMEOUT_MS"),
            (self.rebalance_timeout_ms >= self.request_timeout_ms, "REBALANCE_TIMEOUT_MS is not below GIST_REQUEST_TIMEOUT_MS"),
            (
                self.session_timeout_ms < 3 * self.heartbeat_interval_ms,
                "HEARTBEAT_INTERVAL_MS is over a third of GIST_SESSION_TIMEOUT_MS",
            ),
            (
                self.has_equal_topics,
                "INPUT_TOPIC, GIST_BACKFILL_TOPIC and the output topics must all differ",
            ),
            (
                bool(self.backfill_topic) and self.max_backfill_batch_tokens > self.max_batch_tokens,
                "MAX_BACKFILL_BATCH_TOKENS is above GIST_MAX_BATCH_TOKENS",
            ),
        ]
        for is_wrong, what in contradictions:
            if is_wrong:
                raise ValueError(PREFIX + what)
        return self


def read(flags: dict[str, Any] | None = None) -> Settings:
    """Read the settings; raises `BadSettings` with one readable line, which never holds a value: it could be a secret."""
    try:
        return Settings(**(flags or {}))
    except ValidationError as error:
        problems = []
        for it in error.errors(include_url=False, include_input=False):
            name = PREFIX + str(it["loc"][0]).removeprefix(PREFIX.lower()).upper() + ": " if it["loc"] else ""
            problems.append(name + it["msg"].removeprefix("Value error, "))
        raise BadSettings("; ".join(problems)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(describe_unreadable(error)) from None

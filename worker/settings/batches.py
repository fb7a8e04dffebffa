"""The settings of the batches and of the backpressure."""

from __future__ import annotations

from pydantic import Field

from worker.settings.model import ModelSettings


class BatchSettings(ModelSettings):
    """How large a batch is, how long it waits, and how much work the worker holds before it stops reading."""

    max_batch_tokens: int = Field(
        0,
        ge=0,
        le=1_048_576,
        description=(
            "Maximum tokens of a batch. 0: as many as `GIST_MAX_BATCH_MS` allows at the measured speed. Set a number, at"
            " least the longest text of the model, if the batches must not depend on the machine. Example: `4096`."
        ),
    )
    max_batch_ms: float = Field(
        50.0,
        ge=1,
        le=10_000,
        description=(
            "Target duration of a forward pass, in milliseconds; concurrent passes share the processor and take longer. The"
            " tokens of a batch follow from this time and from the speed of the last full batches: 256 to 16,384 tokens, and at"
            " most a quarter of `GIST_MAX_IN_FLIGHT_TOKENS`. A longer text is a batch of its own. The default loses little"
            " throughput. Lower this for less latency under load; raise this for throughput on slow machines. Not read if"
            " `GIST_MAX_BATCH_TOKENS` is set."
        ),
    )
    max_batch_records: int = Field(
        512,
        ge=1,
        le=65_536,
        description=(
            "Maximum records of a batch, with any number of tokens. Lower this if the outputs of a batch need too much memory."
        ),
    )
    max_batch_delay_ms: float = Field(
        2.0,
        ge=0,
        le=60_000,
        description=(
            "Maximum time that a record waits for its batch to fill while the model is idle, in milliseconds. If no record"
            " arrived for this time, the next record does not wait. Raise this for fuller batches at low load."
        ),
    )
    result_cache_mib: int = Field(
        0,
        ge=0,
        le=65_536,
        description=(
            "Size of the cache of results, in MiB. A text that was computed with the same model and tasks needs no forward pass,"
            " and a batch computes equal texts once. The cache is in memory only. 0: no cache, because most topics repeat no text."
            " Set this if texts repeat, and watch `gist_result_cache_texts_total`. Example: `256`, about 100,000 short texts."
        ),
    )
    max_in_flight_tokens: int = Field(
        65_536,
        ge=16,
        description=(
            "Maximum tokens in the worker: above this limit, no more records are read. The default is at least four batches, "
            "which hides the latency of the brokers. Raise this for slow brokers; lower this for less memory and a "
            "shorter drain."
        ),
    )
    resume_in_flight_tokens: int = Field(
        32_768,
        ge=8,
        description=(
            "Tokens in the worker at which reading resumes after `GIST_MAX_IN_FLIGHT_TOKENS` was reached. The default "
            "is half of that limit. Keep this ratio."
        ),
    )
    max_poll_records: int = Field(
        500,
        ge=1,
        le=65_536,
        description=(
            "Maximum records that one poll takes from the fetched data. Lower this if very long records delay the event loop."
        ),
    )

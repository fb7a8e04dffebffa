"""The options of the flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.wire.formats import OutputFormat, dump_json
from worker.wire.mapping import InputMapping

if TYPE_CHECKING:
    from worker.flow.session import Backoff
    from worker.ports import Schemas
    from worker.records import Task
    from worker.wire.decode import Limits
    from worker.wire.encode import EmbeddingEncoding
    from worker.wire.formats import Serialize
    from worker.wire.layouts import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the flow. `worker.settings` documents each of them."""

    tasks: frozenset[Task]
    limits: Limits
    embedding_encoding: EmbeddingEncoding
    #: The layout with one message for each record; None for a message for each task.
    layout: Layout | None = None
    #: Whether the values contain the model and the source.
    has_origin: bool = False
    #: The token budget of a batch; 0 for the tokens of a pass of `max_batch_s`.
    max_batch_tokens: int
    max_batch_s: float
    max_batch_records: int
    #: The topic whose records run at low priority; None for no such topic.
    backfill_topic: str | None
    #: The largest token budget of a backfill batch.
    max_backfill_batch_tokens: int
    max_batch_delay_s: float
    max_in_flight_tokens: int
    resume_in_flight_tokens: int
    max_poll_records: int
    max_publish_records: int
    publish_interval_s: float
    commit_interval_s: float
    drain_timeout_s: float
    max_consecutive_failures: int
    #: 0 for no limit.
    max_consecutive_dead_letters: int
    #: The longest wait of a dead letter for the first result of its topic.
    dead_letter_hold_s: float
    backoff: Backoff
    #: Whether each chunk of a text has an embedding of its own.
    is_chunked: bool = False
    #: The size of the cache of results; 0 for no cache.
    result_cache_bytes: int = 0
    #: By how much the threads of the forward passes are nicer to other threads than the process is.
    pass_niceness: int = 0
    #: The most texts of clients at a time; 0 for none.
    max_query_texts: int = 0
    #: The form of the input records. The default is the wire contract.
    mapping: InputMapping = field(default_factory=InputMapping)
    #: The schemas of the input records; None without a schema registry.
    schemas: Schemas | None = None
    #: The format of the results.
    output_format: OutputFormat = OutputFormat.JSON
    #: Serializes the results in this format.
    serialize: Serialize = dump_json

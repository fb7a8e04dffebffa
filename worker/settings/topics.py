"""The settings of the topics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worker.settings.connection import ConnectionSettings


class TopicSettings(ConnectionSettings):
    """Topics to read, topics to write, and how topics are created."""

    input_topic: str = Field(
        "texts",
        min_length=1,
        description="Topic to read. Each record has a text; docs/wire-contract.md describes its format. Example: `tickets`.",
    )
    backfill_topic: str = Field(
        "",
        description=(
            "Second topic to read, with lower priority: its records use the capacity of the model that the input topic "
            "leaves. Unset: no second topic. Set this to process old texts again next to live texts. Example: "
            "`tickets.old`."
        ),
    )
    max_backfill_batch_tokens: int = Field(
        1024,
        ge=8,
        le=1_048_576,
        description=(
            "Maximum tokens of a batch of backfill records; a batch of live records bounds it, too. On a CPU such a batch"
            " pauses for live records; on a GPU it does not."
            " Raise this for more throughput of the backfill; lower this for less "
            "delay of live records."
        ),
    )
    output_layout: Literal["split", "enriched", "flat", "qdrant"] = Field(
        "split",
        description=(
            "Layout of the results. `split`: a topic for each task. The others publish one message with all results of a record:"
            " `enriched` is the input object with the results in `GIST_RESULT_FIELD`; `flat` has only strings, numbers and the"
            " vector, for JDBC sinks; `qdrant` is what Qdrant's Kafka connector reads. A record of which one task fails is"
            " a dead letter as a whole in these layouts. docs/sinks.md has examples."
        ),
    )
    result_field: str = Field(
        "gist",
        min_length=1,
        max_length=128,
        description=(
            "Field of the results in the layouts `enriched` and `qdrant`. A field of the input with this name is replaced."
            " Change this if your records have another meaning for the default. Example: `nlp`."
        ),
    )
    origin_in_values: bool = Field(
        default=False,
        description=(
            "Add the fields `model` and `source` (topic, partition, offset, timestamp) to the values of the layouts `split` and"
            " `enriched`. Off by default, because the headers have the same data. Set `true` for a sink that reads no headers."
        ),
    )
    qdrant_collection: str = Field(
        "",
        description=(
            "Collection that the layout `qdrant` names in each message. Unset: the name of the input topic. Example: `tickets`."
        ),
    )
    results_topic: str = Field(
        "",
        description=(
            "Topic for the results of the layouts `enriched`, `flat` and `qdrant`. Unset: the input topic with the name of the"
            " layout as its suffix. Example: `tickets.enriched`."
        ),
    )
    embeddings_topic: str = Field("", description="Topic for vectors. Unset: the input topic with the suffix `.embeddings`.")
    labels_topic: str = Field("", description="Topic for labels. Unset: the input topic with the suffix `.labels`.")
    entities_topic: str = Field("", description="Topic for entities. Unset: the input topic with the suffix `.entities`.")
    dead_letter_topic: str = Field(
        "",
        description=(
            "Topic for dead letters: records that cannot be processed, each with the reason. Unset: the input topic "
            "with the suffix `.dlq`."
        ),
    )
    create_topics: bool = Field(
        default=False,
        description=(
            "Create missing topics at the start of the worker. Off by default, because production topics need a "
            "deliberate number of partitions and retention. Set `true` for development."
        ),
    )
    topic_partitions: int = Field(
        4,
        ge=1,
        le=10_000,
        description=(
            "Partitions of a topic that is created. Output topics get as many partitions as the input topic. A group "
            "can use at most one worker for each partition; raise this for more workers."
        ),
    )
    replication_factor: int = Field(
        0, ge=0, le=32, description="Replicas of a topic that is created. 0: three, or the number of brokers if there are fewer."
    )
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        "earliest",
        description=(
            "Start of a partition without a committed offset: `earliest` is its first record, `latest` its present end,"
            " and `none` refuses to start. The default loses no record. Choose `latest` for a new group that needs no "
            "history. The start is committed before a record is read. With `latest`, a partition that is added after "
            "the first start of the group begins at its first record."
        ),
    )

    @property
    def input_topics(self) -> tuple[str, ...]:
        """The topics to read: the input topic, then the backfill topic if there is one."""
        return (self.input_topic, self.backfill_topic) if self.backfill_topic else (self.input_topic,)

    @property
    def output_topics(self) -> dict[str, str]:
        """The topics of the layout and the topic for dead letters, by output; an output is the suffix of its default topic."""
        if self.output_layout == "split":
            named = {"embeddings": self.embeddings_topic, "labels": self.labels_topic, "entities": self.entities_topic}
        else:
            named = {self.output_layout: self.results_topic}
        named["dlq"] = self.dead_letter_topic
        return {output: topic or f"{self.input_topic}.{output}" for output, topic in named.items()}

    @property
    def has_equal_topics(self) -> bool:
        """Whether two of the topics are equal: a worker would read its own outputs, or mix two outputs in a topic."""
        named = [*self.input_topics, *self.output_topics.values()]
        return len(set(named)) < len(named)

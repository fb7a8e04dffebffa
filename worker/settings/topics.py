"""The settings that name the topics; `worker.settings` adds all others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from worker.settings.connection import ConnectionSettings


class TopicSettings(ConnectionSettings):
    """What is read, where it goes, and what is created."""

    input_topic: str = Field("texts", min_length=1, description="The topic to read.")
    backfill_topic: str = Field(
        "", description="A second topic to read, with what the first leaves of the model: old texts to do again, say. Unset: none."
    )
    max_backfill_batch_tokens: int = Field(
        1024,
        ge=8,
        le=1_048_576,
        description=(
            "The most tokens of a forward pass of backfill, which stops for live records at its next layer, but not on a GPU. "
            "More is faster for it, and they wait longer."
        ),
    )
    embeddings_topic: str = Field("", description="Where vectors go. Unset: `<input>.embeddings`.")
    labels_topic: str = Field("", description="Where labels go. Unset: `<input>.labels`.")
    entities_topic: str = Field("", description="Where entities go. Unset: `<input>.entities`.")
    dead_letter_topic: str = Field("", description="Where records go that cannot be processed. Unset: `<input>.dlq`.")
    create_topics: bool = Field(
        default=False, description="Create missing topics at the start. For development; in production let their owner create them."
    )
    topic_partitions: int = Field(
        4, ge=1, le=10_000, description="Partitions of a topic that is created; the most workers that can share the load."
    )
    replication_factor: int = Field(
        0, ge=0, le=32, description="Copies of a topic that is created. 0: three, or as many as there are brokers."
    )
    auto_offset_reset: Literal["earliest", "latest", "none"] = Field(
        "earliest",
        description="Where a partition without a committed offset begins: at its first record (`earliest`, the default, because it "
        "loses nothing), or at its present end (`latest`, for a new group that needs no history). The position is committed before "
        "anything is read. With `latest`, a partition that was added after the group began starts at its first record. "
        "`none` refuses to start there.",
    )

    @property
    def input_topics(self) -> tuple[str, ...]:
        """The topics that are read, the live one first."""
        return (self.input_topic, self.backfill_topic) if self.backfill_topic else (self.input_topic,)

    @property
    def output_topics(self) -> tuple[str, str, str, str]:
        """The topics for embeddings, labels, entities and dead letters."""
        return (
            self.embeddings_topic or f"{self.input_topic}.embeddings",
            self.labels_topic or f"{self.input_topic}.labels",
            self.entities_topic or f"{self.input_topic}.entities",
            self.dead_letter_topic or f"{self.input_topic}.dlq",
        )

    @property
    def has_equal_topics(self) -> bool:
        """Whether two of the topics are the same, so that a worker would read what it writes, or write one thing over another."""
        named = [*self.input_topics, *self.output_topics]
        return len(set(named)) < len(named)

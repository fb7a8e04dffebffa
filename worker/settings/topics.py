"""The settings of the topics."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from worker.settings.connection import CHANGE_ONE, SET_ONE, ConnectionSettings, raise_first

#: Stands for the input topic in the name of an output topic.
PLACEHOLDER = "{topic}"


class TopicSettings(ConnectionSettings):
    """Topics to read, topics to write, and how topics are created."""

    input_topic: str = Field(
        "texts",
        min_length=1,
        description=(
            "Topics to read, comma-separated. Each record has a text; docs/use/input.md describes the formats. With several "
            "topics, each has output topics of its own, unless the settings of the output topics say otherwise. Examples: "
            "`tickets`; `tickets,mails`."
        ),
    )
    input_topic_pattern: str = Field(
        "",
        description=(
            "Regular expression of the whole names of the topics to read, instead of `GIST_INPUT_TOPIC`. Output topics of matching "
            "topics are left out. A topic is read once its output topics exist; until then a warning names the topic. A topic that "
            r"is created later is noticed after at most `GIST_METADATA_MAX_AGE_MS`. Example: `shop\.[a-z]+`."
        ),
    )
    metadata_max_age_ms: int = Field(
        30_000,
        ge=100,
        le=3_600_000,
        description=(
            "Maximum time until a new partition, and a new topic of `GIST_INPUT_TOPIC_PATTERN`, is noticed, in milliseconds. Lower "
            "this to read new topics sooner, for more requests to the brokers."
        ),
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
            " a dead letter as a whole in these layouts. docs/use/sinks.md has examples."
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
    embeddings_topic: str = Field(
        "",
        description=(
            "Topic for vectors. Unset: the input topic with the suffix `.embeddings`. In this name and in those of the other "
            "output topics, `{topic}` stands for the input topic. Example: `results.{topic}`."
        ),
    )
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
            "the first start of the group begins at its first record, and so does a topic that begins to match "
            "`GIST_INPUT_TOPIC_PATTERN` while a worker runs."
        ),
    )

    @field_validator("embeddings_topic", "labels_topic", "entities_topic", "results_topic", "dead_letter_topic")
    @classmethod
    def _check_placeholder(cls, value: str) -> str:
        if set("{}") & set(value.replace(PLACEHOLDER, "")):
            raise ValueError(f"a brace is no part of the name of a topic: only {PLACEHOLDER} stands for the input topic")
        return value

    @field_validator("input_topic")
    @classmethod
    def _check_input_topics(cls, value: str) -> str:
        if not all(name.strip() for name in value.split(",")):
            raise ValueError("a name of a topic is empty: write the names with one comma between them")
        return ",".join(name.strip() for name in value.split(","))

    @field_validator("input_topic_pattern")
    @classmethod
    def _check_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"the pattern is not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _agree_on_topics(self) -> Self:
        is_twice = bool(self.input_topic_pattern) and "input_topic" in self.model_fields_set
        raise_first([(is_twice, "INPUT_TOPIC and GIST_INPUT_TOPIC_PATTERN both name the input topics")], advice=SET_ONE)
        contradictions = [
            (
                bool(self.input_topic_pattern) and bool(self.backfill_topic),
                "BACKFILL_TOPIC needs one input topic, and GIST_INPUT_TOPIC_PATTERN may name several",
            ),
            (
                self.has_ambiguous_backfill,
                "BACKFILL_TOPIC needs one input topic, or output topics without {topic} in GIST_EMBEDDINGS_TOPIC and the others",
            ),
            (
                self.output_layout == "qdrant"
                and not self.qdrant_collection
                and (len(self.live_topics) > 1 or bool(self.input_topic_pattern)),
                "QDRANT_COLLECTION is unset, and GIST_INPUT_TOPIC names several topics",
            ),
            (self.has_equal_topics, "INPUT_TOPIC, GIST_BACKFILL_TOPIC and the output topics must have different names"),
        ]
        raise_first(contradictions, advice=CHANGE_ONE)
        return self

    @property
    def live_topics(self) -> tuple[str, ...]:
        """The topics of `GIST_INPUT_TOPIC`."""
        return tuple(self.input_topic.split(","))

    @property
    def input_topics(self) -> tuple[str, ...]:
        """The topics to read: the input topics, then the backfill topic if there is one."""
        return (*self.live_topics, self.backfill_topic) if self.backfill_topic else self.live_topics

    @property
    def output_topics(self) -> dict[str, str]:
        """The output topics of the first input topic."""
        return self.name_output_topics(self.live_topics[0])

    def name_output_topics(self, input_topic: str) -> dict[str, str]:
        """Return the topics of the layout and the topic for dead letters, by output; an output is the suffix of its default topic.

        The outputs of the backfill topic go to the topics of the input topic.
        """
        topic = self.live_topics[0] if input_topic == self.backfill_topic else input_topic
        if self.output_layout == "split":
            named = {"embeddings": self.embeddings_topic, "labels": self.labels_topic, "entities": self.entities_topic}
        else:
            named = {self.output_layout: self.results_topic}
        named["dlq"] = self.dead_letter_topic
        return {output: (name or f"{PLACEHOLDER}.{output}").replace(PLACEHOLDER, topic) for output, name in named.items()}

    @property
    def has_equal_topics(self) -> bool:
        """Whether two of the topics are equal: a worker would read its own outputs, or mix two outputs in a topic."""
        # Several input topics may share the topic of one output.
        outputs = {named for topic in self.live_topics for named in self.name_output_topics(topic).items()}
        names = [*self.input_topics, *(name for _, name in outputs)]
        return len(set(names)) < len(names)

    @property
    def has_ambiguous_backfill(self) -> bool:
        """Whether several input topics have different output topics, so that a backfill record belongs to none of them."""
        return bool(self.backfill_topic) and len({tuple(self.name_output_topics(topic).values()) for topic in self.live_topics}) > 1

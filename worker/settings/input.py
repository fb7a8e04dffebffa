"""The settings of the form of input records."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from worker.settings.connection import CHANGE_ONE, SET_ONE, raise_first
from worker.settings.topics import TopicSettings
from worker.wire.fields.paths import FieldPath, TextTemplate


class InputSettings(TopicSettings):
    """Where text, id and tasks of a record are, and what becomes of a record without a text."""

    text_field: str = Field(
        "text",
        min_length=1,
        description=(
            "Path of the text in a record: names with a dot between them, numbers for elements of lists. "
            r"Write `\.` for a dot in a name. Unwrapping by `GIST_ENVELOPE` comes first. Set this if the text of your records has "
            "another name. Example: `payload.items.0.text`."
        ),
    )
    text_template: str = Field(
        "",
        description=(
            "Template of a text of several fields: `{path}` for a field, `{{` and `}}` for braces, "
            r"`\n` for a line break. A field that is absent, null or blank is left out, together with the separator and "
            r"the label before it. Unset: the text is `GIST_TEXT_FIELD`. Example: `{title}\n\n{body}`."
        ),
    )
    id_from: Literal["field", "key", "position"] = Field(
        "field",
        description=(
            "Source of the id that every output has. `field`: `GIST_ID_FIELD`. `key`: the key of the record, which must be UTF-8; "
            "of a key that is a JSON object with one field, the value of this field. `position`: topic, partition and offset."
        ),
    )
    id_field: str = Field(
        "id",
        min_length=1,
        description=(
            "Path of the id in a record, written like `GIST_TEXT_FIELD`. A string or an integer, which becomes its digits. "
            "Without the default field `id`, a record gets topic, partition and offset as its id. Without another "
            "field that you name here, a record is a dead letter. Example: `customer.number`."
        ),
    )
    tasks_field: str = Field(
        "tasks",
        min_length=1,
        description=(
            "Path of the list of tasks in a record, written like `GIST_TEXT_FIELD`. A record without this field gets all tasks "
            "of the worker. Set this if your records have a field `tasks` of another meaning. Example: `meta.tasks`."
        ),
    )
    envelope: Literal["auto", "none", "connect", "debezium"] = Field(
        "auto",
        description=(
            "Envelope around the row of a record. `connect`: Kafka Connect's `schema` and `payload`. `debezium`: Debezium's "
            "`before`, `after` and `op`, also inside Kafka Connect's. `auto`: each of them if the record has no text without "
            "unwrapping. Paths begin in the row. Set the envelope of your topic to make every other record a dead letter."
        ),
    )
    empty_text: Literal["dead_letter", "skip", "tombstone"] = Field(
        "dead_letter",
        description=(
            "Treatment of a record whose text is absent, null or blank. `dead_letter` shows errors of producers. `skip` commits "
            "the record without an output. `tombstone` deletes the earlier outputs of its key. Choose `skip` or "
            "`tombstone` if a text may be empty."
        ),
    )
    unchanged_text: Literal["process", "skip"] = Field(
        "process",
        description=(
            "Treatment of a change event of Debezium whose text and id are the same before and after. `skip` commits the record "
            "without a forward pass. This needs the row before the change: `REPLICA IDENTITY FULL` in PostgreSQL."
        ),
    )

    @field_validator("text_field", "id_field", "tasks_field")
    @classmethod
    def _check_path(cls, value: str) -> str:
        FieldPath.parse(value)
        return value

    @field_validator("text_template")
    @classmethod
    def _check_template(cls, value: str) -> str:
        if value:
            TextTemplate.parse(value)
        return value

    @model_validator(mode="after")
    def _agree_on_input(self) -> Self:
        is_twice = bool(self.text_template) and self.text_field != "text"
        raise_first([(is_twice, "TEXT_TEMPLATE and GIST_TEXT_FIELD both name the text")], advice=SET_ONE)
        contradictions = [
            (self.id_from != "field" and self.id_field != "id", f"ID_FIELD has no effect with GIST_ID_FROM={self.id_from}"),
            (
                self.unchanged_text == "skip" and self.envelope in {"none", "connect"},
                f"UNCHANGED_TEXT=skip compares the rows of Debezium, and GIST_ENVELOPE={self.envelope} reads none",
            ),
        ]
        raise_first(contradictions, advice=CHANGE_ONE)
        return self

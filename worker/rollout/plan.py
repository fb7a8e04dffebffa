"""The plan of a rollout: a record goes to the model of the last step that the record has reached. Pure.

A plan is a file that every worker reads:

    [[step]]
    model = "./models/second"
    from = { 0 = 120000, 1 = 118500 }      # from these offsets on, by partition of the input topic

    [[step]]
    model = "./models/first"               # back to the first model
    from = 2026-01-31T12:00:00Z            # or: records with this timestamp or a later one

The model depends on the record and the file only. It is the same for every worker and when the record is read again.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import BadSettings, reword_validation
from worker.records import Record

if TYPE_CHECKING:
    from worker.records import Partition, UnreadableRange

_Offset = Annotated[int, Field(ge=0)]


class Step(BaseModel):
    """A model, and the offsets or the time from which the model is used. Other partitions keep their model."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    model: str = Field(min_length=1)
    #: The topic of the step. Default: the input topic for offsets, every topic for a time.
    topic: str | None = None
    since: dict[_Offset, _Offset] | datetime = Field(alias="from")

    def has_reached(self, source: Record | UnreadableRange) -> bool:
        """Return whether a record is at or after the start of the step."""
        if self.topic not in {None, source.partition.topic}:
            return False
        if isinstance(self.since, dict):
            return source.offset >= self.since.get(source.partition.index, source.offset + 1)
        since = self.since if self.since.tzinfo else self.since.replace(tzinfo=UTC)
        return isinstance(source, Record) and source.timestamp_ms >= since.timestamp() * 1000

    def may_be_reached(self, partition: Partition, offset: int) -> bool:
        """Return whether the step may start at `offset` or later."""
        if self.topic not in {None, partition.topic}:
            return False
        return not isinstance(self.since, dict) or self.since.get(partition.index, -1) >= offset


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    step: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The first model and the steps in order. The last step that a record has reached decides."""

    first: str
    #: The input topic; None for several topics, of which each step with offsets must name one.
    topic: str | None
    steps: tuple[Step, ...] = ()

    def with_steps(self, text: str) -> RolloutPlan:
        """Return the plan with the steps of a file. Raises `BadSettings` with the place and the reason in one line."""
        try:
            steps = _File.model_validate(tomllib.loads(text)).step
        except tomllib.TOMLDecodeError as error:
            raise BadSettings(f"the file is not TOML: {error}") from error
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise BadSettings(f"{where}: {reword_validation(error.errors()[0]['msg'])}") from error
        return replace(self, steps=tuple(map(self._add_topic, steps)))

    def _add_topic(self, step: Step) -> Step:
        needs_topic = step.topic is None and isinstance(step.since, dict)
        if needs_topic and self.topic is None:
            raise BadSettings(
                f"the step of {step.model} has offsets and names no topic, and the worker reads several topics: add `topic`"
            )
        return step.model_copy(update={"topic": self.topic}) if needs_topic else step

    def candidates(self, source: Record | UnreadableRange) -> list[str]:
        """Return the model of a record, then the models to use if that model does not load, in order."""
        return [*(step.model for step in reversed(self.steps) if step.has_reached(source)), self.first]

    def models_from(self, partition: Partition, offset: int) -> set[str]:
        """Return the models that records of a partition may need, from `offset` on."""
        later = {step.model for step in self.steps if step.may_be_reached(partition, offset)}
        return later | {self.candidates(Record(partition, offset, None, None))[0]}

    @property
    def models(self) -> set[str]:
        """All models of the plan."""
        return {self.first, *(step.model for step in self.steps)}

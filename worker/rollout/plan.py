"""Which model a record goes to while one is rolled out: the one of the last step that it has reached. Pure.

A plan is a file that every worker reads:

    [[step]]
    model = "./models/second"
    from = { 0 = 120000, 1 = 118500 }      # from these offsets on, by partition of the input topic

    [[step]]
    model = "./models/first"               # and back again
    from = 2026-01-31T12:00:00Z            # or: records that were stamped then, or later

Where a record goes depends on the record and on the file alone: it is the same whoever owns the partition, and at a second time.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.errors import BadSettings
from worker.records import Record

if TYPE_CHECKING:
    from worker.records import Partition, UnreadableRange

_Offset = Annotated[int, Field(ge=0)]


class Step(BaseModel):
    """One model, and from where on it is the one. A partition that is not named goes on as before."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    model: str = Field(min_length=1)
    #: Whose records it is about. Unset: offsets are those of the input topic, a moment is one in every topic.
    topic: str | None = None
    since: dict[_Offset, _Offset] | datetime = Field(alias="from")

    def has_reached(self, source: Record | UnreadableRange) -> bool:
        """Tell whether a record stands at or behind where the step begins."""
        if self.topic not in {None, source.partition.topic}:
            return False
        if isinstance(self.since, dict):
            return source.offset >= self.since.get(source.partition.index, source.offset + 1)
        since = self.since if self.since.tzinfo else self.since.replace(tzinfo=UTC)
        return isinstance(source, Record) and source.timestamp_ms >= since.timestamp() * 1000

    def may_be_reached(self, partition: Partition, offset: int) -> bool:
        """Tell whether a record at `offset` or behind it may be the first of the step."""
        if self.topic not in {None, partition.topic}:
            return False
        return not isinstance(self.since, dict) or self.since.get(partition.index, -1) >= offset


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    step: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The model that was there before, and the steps in order; of several that a record has reached, the last one counts."""

    first: str
    #: The input topic.
    topic: str
    steps: tuple[Step, ...] = ()

    def with_steps(self, text: str) -> RolloutPlan:
        """Return this with the steps of a file; raises `BadSettings` with one line that says what is wrong and where."""
        try:
            steps = _File.model_validate(tomllib.loads(text)).step
        except tomllib.TOMLDecodeError as error:
            raise BadSettings(f"it is not TOML: {error}") from error
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise BadSettings(f"{where}: {error.errors()[0]['msg']}") from error
        return replace(self, steps=tuple(self._placed(it) for it in steps))

    def _placed(self, step: Step) -> Step:
        is_unsaid = step.topic is None and isinstance(step.since, dict)
        return step.model_copy(update={"topic": self.topic}) if is_unsaid else step

    def candidates(self, source: Record | UnreadableRange) -> list[str]:
        """Return the model that a record goes to, and after it those that it would go to if that could not be loaded."""
        return [*(it.model for it in reversed(self.steps) if it.has_reached(source)), self.first]

    def models_from(self, partition: Partition, offset: int) -> set[str]:
        """Return every model that a record of a partition may go to, at `offset` or behind it."""
        later = {it.model for it in self.steps if it.may_be_reached(partition, offset)}
        return later | {self.candidates(Record(partition, offset, None, None))[0]}

    @property
    def models(self) -> set[str]:
        """Every model that it names."""
        return {self.first, *(it.model for it in self.steps)}

"""Sentences with slots and the values of the slots. Pure.

A file of templates is TOML:

    templates = ["{PER} moved from {LOC} to {LOC} in {month}."]

    [entities]                          # a slot of this name is an entity of this type
    PER = ["{first} {last}", "{first}"]
    LOC = ["Lisbon", "the Alps"]

    [words]                             # a slot of this name is filled in too, and is no entity
    month = ["March", "June"]
    first = ["Ada", "Ibrahim"]
    last = ["Moreno", "Okafor"]

The value of a slot may have slots of words; a word may have slots of the words above it. A literal brace is doubled, `{{`.
"""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from worker.training.config import read_model
from worker.training.data.examples import Span, TaggedText

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from random import Random

#: The templates of the project: people, organisations and places in short English messages.
BUILT_IN = Path(__file__).with_name("names.toml")
Texts: TypeAlias = Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Field(min_length=1)]


class Templates(BaseModel):
    """Sentences with slots, and the values of each slot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    templates: Texts
    entities: dict[str, Texts]
    words: dict[str, Texts] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse undefined slots, words that contain themselves, and templates without an entity."""
        if both := self.entities.keys() & self.words.keys():
            raise ValueError(f"{min(both)!r} is both an entity and a word")
        for template in self.templates:
            _check_slots(template, self.entities.keys() | self.words.keys())
        for value in (value for values in self.entities.values() for value in values):
            _check_slots(value, self.words.keys())
        # A word may use only earlier words, so no word contains itself.
        known: set[str] = set()
        for slot, values in self.words.items():
            for value in values:
                _check_slots(value, known)
            known.add(slot)
        if not any(slot in self.entities for template in self.templates for _, slot in _parts(template)):
            raise ValueError("no template has a slot of an entity")
        return self

    def draw(self, random: Random) -> TaggedText:
        """Return a sentence with random values."""
        parts: list[str] = []
        spans: list[Span] = []
        length = 0
        for literal, slot in _parts(random.choice(self.templates)):
            parts.append(literal)
            length += len(literal)
            if slot is None:
                continue
            is_entity = slot in self.entities
            value = self._fill(random.choice((self.entities if is_entity else self.words)[slot]), random)
            if is_entity:
                spans.append(Span(slot, length, length + len(value)))
            parts.append(value)
            length += len(value)
        return TaggedText("".join(parts), tuple(spans))

    def _fill(self, value: str, random: Random) -> str:
        return "".join(
            literal + (self._fill(random.choice(self.words[slot]), random) if slot else "") for literal, slot in _parts(value)
        )


def read(path: Path) -> Templates:
    """Read a file of templates; raises `BadSettings` with file, key and reason."""
    return read_model(Templates, path)


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    """Yield each literal part with the name of the slot after it; None at the end or after a doubled brace."""
    return ((literal, slot) for literal, slot, _, _ in Formatter().parse(template))


def _check_slots(template: str, slots: Collection[str]) -> None:
    try:
        parts = list(_parts(template))
    except ValueError as error:
        raise ValueError(f"{template!r}: {error}; a brace that is meant is doubled") from error
    for _, slot in parts:
        if slot is not None and slot not in slots:
            raise ValueError(f"{template!r}: the slot {slot!r} is not defined, or may not be used here")

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

import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data.examples import Span, TaggedText

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from random import Random

#: The templates of the project: people, organisations and places in short English messages.
BUILT_IN = Path(__file__).with_name("names.toml")


@dataclass(frozen=True, slots=True)
class Templates:
    """Sentences with slots, and the values of each slot."""

    templates: tuple[str, ...]
    entities: Mapping[str, tuple[str, ...]]
    words: Mapping[str, tuple[str, ...]]

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
    """Read a file of templates; raises `BadSettings` with file and reason."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: not TOML: {error}") from error
    if unknown := content.keys() - {"templates", "entities", "words"}:
        raise BadSettings(f"{path}: {min(unknown)!r} is none of templates, entities, words")
    found = Templates(
        _strings(path, "templates", content.get("templates")),
        _table(path, "entities", content.get("entities")),
        _table(path, "words", content.get("words", {})),
    )
    _check(path, found)
    return found


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    """Yield each literal part with the name of the slot after it; None at the end or after a doubled brace."""
    return ((literal, slot) for literal, slot, _, _ in Formatter().parse(template))


def _table(path: Path, name: str, value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise BadSettings(f"{path}: {name} must be a table of lists")
    return {slot: _strings(path, f"{name}.{slot}", texts) for slot, texts in value.items()}


def _strings(path: Path, name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) and text.strip() for text in value):
        raise BadSettings(f"{path}: {name} must be a list of texts, and none of them empty")
    return tuple(value)


def _check(path: Path, templates: Templates) -> None:
    """Refuse undefined slots, words that contain themselves, and templates without an entity."""
    slots = templates.entities.keys() | templates.words.keys()
    if both := templates.entities.keys() & templates.words.keys():
        raise BadSettings(f"{path}: {min(both)!r} is both an entity and a word")
    for template in templates.templates:
        _check_slots(path, template, slots)
    for values in templates.entities.values():
        for value in values:
            _check_slots(path, value, templates.words.keys())
    # A word may use only earlier words, so no word contains itself.
    known: set[str] = set()
    for slot, values in templates.words.items():
        for value in values:
            _check_slots(path, value, known)
        known.add(slot)
    if not any(slot in templates.entities for template in templates.templates for _, slot in _parts(template)):
        raise BadSettings(f"{path}: no template has a slot of an entity")


def _check_slots(path: Path, template: str, slots: Collection[str]) -> None:
    try:
        parts = list(_parts(template))
    except ValueError as error:
        raise BadSettings(f"{path}: {template!r}: {error}; a brace that is meant is doubled") from error
    for _, slot in parts:
        if slot is not None and slot not in slots:
            raise BadSettings(f"{path}: {template!r}: nothing may stand in the slot {slot!r} here")

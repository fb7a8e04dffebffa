"""Tagging schemes of published taggers: how labels of words say where entities begin and end. Pure.

BIO and IOB1 (`B-PER`, `I-PER`), BIOES and BMES (`S-PER`, `E-PER`, `M-PER`), BILOU (`L-PER`, `U-PER`), or types alone (`PER`); each
with `O` for words outside entities, or without. An entity begins at `B-`, `S-` and `U-`, after `E-`, `L-`, `S-` and `U-`, and
where the type changes, as `conlleval` reads labels. Every path of labels is valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from worker.errors import BadModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTSIDE = "O"
_PREFIXED = re.compile(r"([BIESMLU])-(.+)", re.DOTALL)
_UNNAMED = re.compile(r"LABEL_\d+")
_SCHEMES = (frozenset("BIES"), frozenset("BMES"), frozenset("BILU"))
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")


@dataclass(frozen=True, slots=True, eq=False)
class TagScheme:
    """The meaning of each label of a tagger."""

    #: The entity type of each label; None for words outside entities.
    types: tuple[str | None, ...]
    #: The number of the type of each label, -1 outside entities, shape `[labels]`.
    type_numbers: NDArray[np.int64]
    #: Whether a label begins an entity after a label of the same type.
    is_begin: tuple[bool, ...]
    #: Whether a label ends an entity before a label of the same type.
    is_end: tuple[bool, ...]


@lru_cache
def read_scheme(labels: tuple[str, ...]) -> TagScheme:
    """Return the meaning of the labels of a tagger; raises `BadModel` where they are not a tagging scheme."""
    named = [label for label in labels if label != OUTSIDE]
    matches = {label: _PREFIXED.fullmatch(label) for label in named}
    letters = {match[1] for match in matches.values() if match}
    is_prefixed = bool(letters & {"B", "I"}) or (bool(letters) and all(matches.values()))
    if unnamed := [label for label in labels if _UNNAMED.fullmatch(label)]:
        raise BadModel(f"the label {unnamed[0]} has no name: name the labels in id2label of config.json")
    if not named or (is_prefixed and not all(matches.values())):
        odd = next((label for label, match in matches.items() if match is None), OUTSIDE)
        raise BadModel(
            f"the labels are not a tagging scheme: {odd!r} is neither O nor has a prefix such as B- or I-, as others have"
        )
    if is_prefixed and not any(letters <= scheme for scheme in _SCHEMES):
        raise BadModel(
            f"the labels are not a tagging scheme: the prefixes {', '.join(sorted(letters))} are not those of BIO, BIOES, "
            "BMES or BILOU"
        )
    prefixes = [(match[1] if is_prefixed and (match := matches.get(label)) else "") for label in labels]
    types = tuple(None if label == OUTSIDE else label[2:] if is_prefixed else label for label in labels)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name in types if name is not None))}
    return TagScheme(
        types,
        np.array([-1 if name is None else numbers[name] for name in types]),
        tuple(prefix in _BEGINS for prefix in prefixes),
        tuple(prefix in _ENDS for prefix in prefixes),
    )

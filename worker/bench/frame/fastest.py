"""Chooses the number format that a baseline computes in: the faster counts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NUM_TURNS = 2
_Choice = TypeVar("_Choice")


def choose_fastest(choices: Mapping[str, _Choice], run: Callable[[_Choice], object]) -> str:
    """Return the name of the choice that runs fastest: the better of two turns counts, and the first run of each does not."""
    least_s = dict.fromkeys(choices, float("inf"))
    for turn in range(_NUM_TURNS + 1 if len(choices) > 1 else 1):
        for name, choice in choices.items():
            started_s = time.perf_counter()
            run(choice)
            if turn:
                least_s[name] = min(least_s[name], time.perf_counter() - started_s)
    return min(least_s, key=least_s.__getitem__)

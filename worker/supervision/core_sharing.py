"""How the cores are shared out among replicas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Share:
    """What one replica gets."""

    #: For its matrix products, at least 1.
    threads: int
    #: The cores that it is held to; empty where the scheduler places it.
    cores: tuple[int, ...] = ()


def divide(num_replicas: int, *, cores: Sequence[int], num_usable: int) -> list[Share]:
    """Share out `cores`, neighbours beside each other, of which so many may be busy at a time; a share for each replica.

    Shares differ by one core at most. Nobody is held to cores where a control group limits time to less than all of them (the
    limited time is that of any core, and a core chosen by us may be another's), nor where there are fewer cores than replicas.
    """
    num_usable = min(num_usable, len(cores))
    size, num_larger = divmod(num_usable, num_replicas)
    sizes = [size + (number < num_larger) for number in range(num_replicas)]
    if num_usable < len(cores) or not size:
        return [Share(max(1, it)) for it in sizes]
    shares, first = [], 0
    for it in sizes:
        shares.append(Share(it, tuple(cores[first : first + it])))
        first += it
    return shares

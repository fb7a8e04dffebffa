"""The division of the cores among replicas. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Share:
    """The threads and the cores of one replica."""

    #: Threads for matrix products, at least 1.
    threads: int
    #: The cores on which the replica may run; empty for all.
    cores: tuple[int, ...] = ()


def divide(num_replicas: int, *, cores: Sequence[int], num_usable: int) -> list[Share]:
    """Return a share of `cores` for each replica, of which `num_usable` may be busy at a time; adjacent cores stay together.

    Shares differ by at most one core. Replicas are not bound to cores in two cases: if a control group limits the processor time
    below that of all cores, because another container may use the chosen cores; and if there are fewer cores than replicas.
    """
    num_usable = min(num_usable, len(cores))
    least, num_larger = divmod(num_usable, num_replicas)
    sizes = [least + (number < num_larger) for number in range(num_replicas)]
    if num_usable < len(cores) or not least:
        return [Share(max(1, size)) for size in sizes]
    shares, first = [], 0
    for size in sizes:
        shares.append(Share(size, tuple(cores[first : first + size])))
        first += size
    return shares

"""The conditions that all outputs must fulfil, for any faults. Pure: a verdict on the read outputs.

The oracle takes the outputs in the order of their partitions, and keeps a byte for each output of each record.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from worker.records import Output
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tests.faults.lab.workload import Workload
    from worker.records import Headers

Mode = Literal["at_least_once", "exactly_once"]
OUTPUTS = (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES, Output.DEAD_LETTERS)
# So many violations of one kind are told in full; the rest is counted.
_MAX_TOLD = 5
_MOST = 255
# Seconds over which a rate is taken.
_WINDOW = 5


@dataclass(slots=True)
class Totals:
    """A scenario in numbers."""

    mode: Mode
    scenario: str = ""
    seed: int = 0
    protocol: str = "classic"
    seconds: float = 0.0
    records: int = 0
    faults: int = 0
    dead_letters: int = 0
    lost: int = 0
    duplicated: int = 0
    torn: int = 0
    disordered: int = 0
    hanging: int = 0
    #: The throughput after healing over that before the first fault; None where too little was seen.
    recovery: float | None = None
    violations: int = 0
    #: By the workers' exit codes.
    exits: dict[str, int] = field(default_factory=dict)


class Oracle:
    """Compares a stream of outputs with the expected outputs of the workload."""

    def __init__(self, workload: Workload, mode: Mode) -> None:
        """Start without outputs."""
        self._workload = workload
        self._mode = mode
        # How often each output of each record was seen, by output and number.
        self._seen: dict[Output, bytearray] = {output: bytearray() for output in OUTPUTS}
        # The highest input offset seen for the first time, by output and partition.
        self._last: dict[tuple[Output, int], int] = {}
        # A checksum over everything read, and how many, by output and partition.
        self.digests: dict[tuple[Output, int], tuple[int, int]] = {}
        # Outputs taken, and among them those that were seen before.
        self.num_seen = 0
        self.num_duplicates = 0
        self._problems: dict[str, list[str]] = {}
        self._num_problems: Counter[str] = Counter()

    def note(
        self,
        output: Output,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        """Take an output with its partition."""
        self.num_seen += 1
        count, digest = self.digests.get((output, partition), (0, 0))
        digest = zlib.crc32(value or b"", zlib.crc32(key or b"", digest + offset & 0xFFFFFFFF))
        self.digests[output, partition] = count + 1, digest
        number = int(key or b"-1")
        if number < 0:
            self._report("foreign", f"{output}-{partition}@{offset} has no number")
            return
        self._check_place(output, partition, offset, number, headers)
        if output is not Output.DEAD_LETTERS and not self._is_right(output, number, value or b""):
            self._report("torn", f"{output} of record {number} at {partition}@{offset} is not what its text says: {value!r:.300}")
        self._count(output, partition, number)

    def _check_place(self, output: Output, partition: int, offset: int, number: int, headers: Headers) -> None:
        """Compare the source coordinates in the headers with those of the number."""
        values = read_headers(headers)
        found_partition, found_offset = values.get("gist-source-partition", b""), values.get("gist-source-offset", b"")
        source = self._workload.place(number)
        if partition != source[0] or found_partition != b"%d" % source[0] or found_offset != b"%d" % source[1]:
            found = f"{found_partition.decode()}@{found_offset.decode()}"
            self._report(
                "torn", f"{output} of record {number} at {partition}@{offset} says that it came from {found}, not {source}"
            )

    def _is_right(self, output: Output, number: int, value: bytes) -> bool:
        if self._workload.is_content_known:
            return value == self._workload.expected(output, number)
        return value.startswith(b'{"id":"r-%d",' % number)

    def _count(self, output: Output, partition: int, number: int) -> None:
        seen = self._seen[output]
        if number >= len(seen):
            seen.extend(bytes(max(number + 1 - len(seen), len(seen), 1024)))
        if seen[number]:
            self.num_duplicates += 1
            if self._mode == "exactly_once":
                self._report("duplicated", f"{output} of record {number} came again")
        else:
            # What comes for the first time comes in order; a repetition may follow what it repeats.
            last = self._last.get((output, partition), -1)
            place = self._workload.place(number)[1]
            if place < last:
                self._report("disordered", f"{output} of record {number} ({partition}@{place}) came after {partition}@{last}")
            self._last[output, partition] = max(last, place)
        seen[number] = min(_MOST, seen[number] + 1)

    def missing(self, num_produced: int) -> list[int]:
        """Return the numbers of the records without all their outputs.

        A dead letter counts as complete; `judge` decides whether it is right.
        """
        seen, expected = self._find_seen(num_produced), self._workload.fates(num_produced)
        is_parked = (seen[3] > 0) & ~seen[:3].any(axis=0)
        return np.flatnonzero((seen < expected).any(axis=0) & ~is_parked).tolist()

    def judge(self, num_produced: int) -> None:
        """Check every record: no output is lost, invented or incomplete."""
        seen, expected = self._find_seen(num_produced), self._workload.fates(num_produced)
        for number in self.missing(num_produced):
            kind = "torn" if seen[:, number].any() else "lost"
            self._report(kind, f"record {number} has {_told(seen[:, number])} of {_told(expected[:, number])}")
        for number in np.flatnonzero(((seen > 0) & (expected == 0)).any(axis=0)).tolist():
            words = f"record {number} has {_told(seen[:, number])} instead of {_told(expected[:, number])}"
            self._report("undeserved" if seen[3, number] and not expected[3, number] else "invented", words)
        for output, counts in self._seen.items():
            if any(counts[num_produced:]):
                self._report("invented", f"there are {output} of records that were never produced")

    def _find_seen(self, num_produced: int) -> NDArray[np.uint8]:
        """Return a copy of how often each output was seen, shape `[4, num_produced]`; a reader may continue meanwhile."""
        columns = [bytes(column[:num_produced]).ljust(num_produced, b"\0") for column in self._seen.values()]
        return np.stack([np.frombuffer(column, dtype=np.uint8) for column in columns])

    def _report(self, kind: str, words: str) -> None:
        self._num_problems[kind] += 1
        told = self._problems.setdefault(kind, [])
        if len(told) < _MAX_TOLD:
            told.append(words)

    def num_by_partition(self) -> dict[int, int]:
        """Count the read outputs of each partition, over all topics."""
        counts: Counter[int] = Counter()
        for (_, partition), (count, _) in list(self.digests.items()):
            counts[partition] += count
        return counts

    def num_dead_letters(self) -> int:
        """Count the records with a dead letter."""
        seen = self._seen[Output.DEAD_LETTERS]
        return len(seen) - seen.count(0)

    def count(self, kind: str) -> int:
        """Count the violations of one kind."""
        return self._num_problems[kind]

    def violations(self) -> list[str]:
        """Return the violations in words, a few of each kind."""
        lines = [f"{kind}: {words}" for kind, told in self._problems.items() for words in told]
        return lines + [f"{kind}: {count} in all" for kind, count in self._num_problems.items() if count > _MAX_TOLD]


def _told(fate: NDArray[np.uint8]) -> str:
    return ", ".join(f"{count} {output}" for count, output in zip(fate, OUTPUTS, strict=True))


def differences(live: Oracle, final: Oracle) -> list[str]:
    """Return the differences between the outputs read during the scenario and those read at the end."""
    return [
        f"unstable: {output}-{partition} was {seen} read live and {found} read at the end"
        for output, partition in sorted(live.digests.keys() | final.digests.keys())
        if (seen := live.digests.get((output, partition))) != (found := final.digests.get((output, partition)))
    ]


def recovery(
    arrivals: Sequence[tuple[float, int]], first_fault_s: float, healed_s: float, *, within_s: float = 60.0
) -> float | None:
    """Return the best rate of five seconds after healing divided by the mean rate before the first fault; None without enough data.

    `arrivals` has the number of outputs of each second, by the start of the second.
    """
    before = [count for second, count in arrivals if second < first_fault_s - 1]
    after = [count for second, count in arrivals if healed_s <= second < healed_s + within_s]
    if len(before) < _WINDOW + 1 or len(after) < _WINDOW + 1:
        return None
    # The first second is the group's beginning.
    usual = sum(before[1:]) / len(before[1:])
    best = max(sum(after[at : at + _WINDOW]) for at in range(len(after) - _WINDOW + 1)) / _WINDOW
    return best / usual if usual else None

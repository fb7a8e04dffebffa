"""The oracle sees what is lost, doubled, torn, out of order or invented, and nothing else."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab.oracle import OUTPUTS, Oracle, differences, recovery
from tests.faults.lab.workload import RESULTS, Workload
from worker.records import Output

if TYPE_CHECKING:
    from tests.faults.lab.oracle import Mode

GOOD = Workload(num_partitions=2)
POISONED = Workload(num_partitions=2, poison_every=5)


def note(oracle: Oracle, output: Output, number: int, workload: Workload = GOOD, *, at: int | None = None) -> None:
    """Let the oracle see an output as it should be; `at` is its offset in its own topic."""
    partition, offset = workload.place(number)
    headers = (("gist-source-partition", b"%d" % partition), ("gist-source-offset", b"%d" % offset))
    value = b"{}" if output is Output.DEAD_LETTERS else workload.expected(output, number)
    oracle.note(output, partition, offset if at is None else at, b"%d" % number, value, headers)


def told(workload: Workload, count: int, mode: Mode = "exactly_once") -> Oracle:
    """Return an oracle that has seen everything that must come out for so many records."""
    oracle = Oracle(workload, mode)
    for number in range(count):
        for output, wanted in zip(OUTPUTS, workload.fate(number), strict=True):
            for _ in range(wanted):
                note(oracle, output, number, workload)
    return oracle


@pytest.mark.parametrize("workload", [GOOD, POISONED], ids=["good", "poisoned"])
def test_the_expected_outputs_are_right(workload: Workload) -> None:
    """A stream with exactly the expected outputs has no violation and no missing record."""
    oracle = told(workload, 100)
    assert oracle.missing(100) == []
    oracle.judge(100)
    assert oracle.violations() == []


def test_a_record_without_any_output_is_lost() -> None:
    """Each lost record is listed by its number."""
    oracle = told(GOOD, 9)
    assert oracle.missing(11) == [9, 10]
    oracle.judge(11)
    assert oracle.count("lost") == 2


@pytest.mark.parametrize("output", RESULTS)
def test_a_record_that_misses_one_output_is_torn(output: Output) -> None:
    """Two of the three outputs are not enough."""
    oracle = told(GOOD, 9)
    for other in RESULTS:
        if other is not output:
            note(oracle, other, 9)
    oracle.judge(10)
    assert (oracle.count("torn"), oracle.count("lost")) == (1, 0)


def test_a_repeated_output_violates_exactly_once_only() -> None:
    """At-least-once delivery counts the repetition without a violation, in any order."""
    for mode, num_violations in (("exactly_once", 1), ("at_least_once", 0)):
        oracle = told(GOOD, 10, mode)  # type: ignore[arg-type]  # both are modes
        note(oracle, Output.LABELS, 4, at=99)
        oracle.judge(10)
        assert oracle.num_duplicates == 1
        assert len(oracle.violations()) == num_violations


def test_a_first_output_out_of_order_is_a_violation() -> None:
    """A first output after a later record is a violation in at-least-once mode, too."""
    oracle = Oracle(GOOD, "at_least_once")
    for number in (0, 4, 2):
        note(oracle, Output.ENTITIES, number)
    assert oracle.count("disordered") == 1


def test_an_output_of_another_text_is_torn() -> None:
    """One missing byte of the value is enough."""
    oracle = told(GOOD, 9)
    headers = (("gist-source-partition", b"1"), ("gist-source-offset", b"4"))
    oracle.note(Output.LABELS, 1, 4, b"9", GOOD.expected(Output.LABELS, 9)[:-1], headers)
    assert oracle.count("torn") == 1


def test_an_output_that_names_another_source_is_torn() -> None:
    """The headers contain the partition and the offset of the input record."""
    oracle = told(GOOD, 9)
    headers = (("gist-source-partition", b"1"), ("gist-source-offset", b"3"))
    oracle.note(Output.LABELS, 1, 4, b"9", GOOD.expected(Output.LABELS, 9), headers)
    assert oracle.count("torn") == 1


def test_a_dead_letter_for_a_good_record_is_undeserved() -> None:
    """The record is not missing, but its dead letter is a violation."""
    oracle = told(GOOD, 9)
    note(oracle, Output.DEAD_LETTERS, 9)
    assert oracle.missing(10) == []
    oracle.judge(10)
    assert oracle.count("undeserved") == 1


def test_outputs_of_records_that_were_not_produced_are_invented() -> None:
    """An output of an unknown record, or of a record that must have only a dead letter, is a violation."""
    oracle = told(GOOD, 10)
    oracle.judge(9)
    assert oracle.count("invented") == len(RESULTS)
    oracle = told(POISONED, 10)
    note(oracle, Output.LABELS, 4, POISONED)
    oracle.judge(10)
    assert oracle.count("invented") == 1


def test_two_readers_that_saw_different_streams_differ() -> None:
    """A missing record, another offset and another content are differences."""
    live, final = told(GOOD, 10), told(GOOD, 10)
    assert differences(live, final) == []
    note(final, Output.LABELS, 10)
    assert len(differences(live, final)) == 1
    note(live, Output.LABELS, 10, at=77)
    assert len(differences(live, final)) == 1
    assert len(differences(live, Oracle(GOOD, "exactly_once"))) == 2 * len(RESULTS)


def test_a_throughput_that_comes_back_is_recognised() -> None:
    """Recovery is the best five seconds after healing over the mean before the fault; a run without them has none."""
    before = [(float(second), 100) for second in range(10)]
    fault = [(float(second), 0) for second in range(10, 20)]
    good, bad = [(float(second), 90) for second in range(20, 30)], [(float(second), 50) for second in range(20, 30)]
    assert recovery(before + fault + good, 10, 20) == pytest.approx(0.9)
    assert recovery(before + fault + bad, 10, 20) == pytest.approx(0.5)
    assert recovery(before + fault, 10, 20) is None


def test_random_losses_and_repetitions_are_counted_one_by_one() -> None:
    """In 50 random streams the oracle counts exactly the planted losses and repetitions."""
    chance = random.Random(7)  # noqa: S311  to be repeated, not to be secret
    for _ in range(50):
        count = chance.randrange(10, 200)
        lost = {number for number in range(count) if chance.random() < 0.05}
        doubled = {number for number in range(count) if chance.random() < 0.05} - lost
        oracle = Oracle(GOOD, "exactly_once")
        for number in range(count):
            for output in () if number in lost else RESULTS:
                for _ in range(1 + (number in doubled)):
                    note(oracle, output, number)
        oracle.judge(count)
        assert oracle.count("lost") == len(lost)
        assert oracle.count("duplicated") == oracle.num_duplicates == len(RESULTS) * len(doubled)


def test_the_oracle_costs_little() -> None:
    """The test prints the processor time for each output and has no bound."""
    began_s = time.thread_time()
    told(GOOD, 20_000)
    microseconds = (time.thread_time() - began_s) / 60_000 * 1e6
    print(f"{microseconds:.1f} µs for each output")  # noqa: T201  a measure, not a bound

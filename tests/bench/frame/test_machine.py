"""The description of the machine."""

from __future__ import annotations

from worker.bench.frame.machine import OTHERS, OtherPrograms, describe_in_one_line, describe_machine


def test_the_machine_is_described_with_versions() -> None:
    """Processor, cores and the versions of the measured packages are known."""
    found = describe_machine()
    assert found["torch"]
    assert found["cores"] >= 1
    assert found["processor"] in describe_in_one_line(found)


def test_a_busy_machine_is_named() -> None:
    """The line has the share of other programs where the kernel counts it."""
    assert describe_in_one_line({"processor": "p", "cores": 2, OTHERS: 0.6}) == "p, 2 cores, other programs used 60% of the machine"
    assert describe_in_one_line({"gpu": "g", "processor": "p", OTHERS: None}) == "g, p"


def test_other_programs_use_a_share_of_all_cores() -> None:
    """The work of this process does not count."""
    others = OtherPrograms()
    sum(range(200_000))
    share = others.share()
    assert share is None or 0 <= share <= 1

"""The description of the machine."""

from __future__ import annotations

import pytest

from worker.bench.frame.machine import OTHERS, OtherPrograms, classify_processor, describe_in_one_line, describe_machine


def test_the_machine_is_described_with_versions() -> None:
    """Processor, cores and the versions of the measured packages are known."""
    found = describe_machine()
    assert found["torch"]
    assert found["cores"] >= 1
    assert found["processor"] in describe_in_one_line(found)


def test_a_busy_machine_is_named() -> None:
    """The line has the share of other programs where the kernel counts it."""
    assert (
        describe_in_one_line({"processor": "p", "cores": 2, OTHERS: 0.6}) == "p, p, 2 cores, other programs used 60% of the machine"
    )
    assert describe_in_one_line({"gpu": "g", "processor": "p", OTHERS: None}) == "g, p"


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"processor": "Intel(R) Xeon(R) 6", "instructions": "amx_int8 avx2 avx512_vnni"}, "Xeon with AMX"),
        ({"processor": "AMD EPYC 7R13", "instructions": "avx2"}, "EPYC with AVX2"),
        ({"processor": "some CPU", "instructions": "avx512_vnni avx512f"}, "AVX-512 VNNI"),
        ({"processor": "Neoverse-N1", "instructions": "none known"}, "Neoverse-N1"),
        ({"gpu": "H200", "processor": "Xeon", "instructions": "amx_int8"}, "H200"),
    ],
)
def test_a_class_names_the_best_instruction(machine: dict[str, str], expected: str) -> None:
    """A GPU is a class of its own."""
    assert classify_processor(machine) == expected


def test_other_programs_use_a_share_of_all_cores() -> None:
    """The work of this process does not count."""
    others = OtherPrograms()
    sum(range(200_000))
    share = others.share()
    assert share is None or 0 <= share <= 1

"""What a run took place on."""

from __future__ import annotations

import torch

from worker.bench.engine.machine import OtherPrograms, fastest_device, machine


def test_the_machine_is_named() -> None:
    """With the versions of what was measured."""
    found = machine(3, "cpu")
    assert found["threads"] == 3
    assert found["torch"]
    assert found["cores"] >= 1


def test_the_fastest_device_is_a_gpu_where_there_is_one() -> None:
    """Which is named then."""
    assert fastest_device() == ("cuda" if torch.cuda.is_available() else "cpu")
    assert ("gpu" in machine(1, fastest_device())) == torch.cuda.is_available()


def test_what_others_took_is_a_share() -> None:
    """Of all cores; our own work is not counted in it."""
    others = OtherPrograms()
    sum(range(200_000))
    share = others.share()
    assert share is None or 0 <= share <= 1

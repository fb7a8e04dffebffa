"""The choice of a scenario's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.lab.protocols import choose_protocol

if TYPE_CHECKING:
    import pytest


def test_both_protocols_are_tested_in_a_run_and_swapped_by_the_next_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """PROTOCOL forces one of them; an empty variable does not."""
    monkeypatch.setenv("PROTOCOL", "")
    chosen = [choose_protocol("a_zombie", mode, seed) for seed in (7, 8) for mode in ("at_least_once", "exactly_once")]
    assert set(chosen[:2]) == {"classic", "consumer"}
    assert chosen[2:] == chosen[1::-1]
    monkeypatch.setenv("PROTOCOL", "consumer")
    assert {choose_protocol(name, "exactly_once", 7) for name in ("a", "b", "c")} == {"consumer"}

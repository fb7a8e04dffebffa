"""The selection of `dlq drop`."""

from __future__ import annotations

import pytest

from worker.commands.repair.cli import _SELECTION, drop_dead_letters
from worker.errors import BadSettings
from worker.records import Stage
from worker.settings import read


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"includes_all": True, "stage": Stage.INFER}, "--all and flags that select, such as --stage, are both given: leave out"),
        ({"includes_all": False}, "no dead letter is selected: give --all to drop all, or a flag that selects, such as --stage"),
    ],
)
def test_either_all_dead_letters_or_selected_ones_are_dropped(given: dict[str, object], reason: str) -> None:
    with pytest.raises(BadSettings, match=reason):
        drop_dead_letters(settings=read({}), **dict.fromkeys(_SELECTION) | given)

"""A comparison trains every cell with the same steps, and continues after an interruption."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.model.checkpoint import tiny
from tests.training.runs import Silent
from worker.commands.training.compare import compare as run_command
from worker.errors import BadSettings
from worker.training.comparison import run as module
from worker.training.comparison.plan import CONTENDERS, ComparisonPlan, Contender
from worker.training.comparison.run import build_tasks, compare, train_cell
from worker.training.data.examples import Span, TaggedText
from worker.training.data.splits import Side
from worker.training.learning.state_cache import StateCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.training.comparison.plan import Cell

pytestmark = pytest.mark.model
_THINGS = ("film", "day", "book", "song", "trip", "meal", "game", "talk")
_MOODS = {
    "lovely": "positive",
    "great": "positive",
    "kind": "positive",
    "awful": "negative",
    "rude": "negative",
    "broken": "negative",
}
_NAMES = ("Ada", "Grace", "Marie", "Alan", "Kurt", "Emmy", "Carl", "Lise")
_PLACES = ("Paris", "London", "Oslo", "Rome", "Vienna", "Berlin", "Madrid", "Bern")
_SPLIT: dict[str, Any] = {"dev_share": 0.2, "test_share": 0.2}


def write_plan(directory: Path) -> ComparisonPlan:
    """Return a plan with a tiny encoder and sentences from a few words."""
    labelled = [
        {"text": f"the {thing} was {mood}", "label": label}
        for label, moods in _MOODS.items()
        for mood in moods
        for thing in _THINGS
    ]
    tagged = [f"{name}\tB-PER\nlives\tO\nin\tO\n{place}\tB-LOC\n" for name in _NAMES for place in _PLACES]
    (directory / "moods.jsonl").write_text("\n".join(map(json.dumps, labelled)))
    (directory / "people.conll").write_text("\n".join(tagged))
    return ComparisonPlan(
        encoder=str(tiny.encoder_in(directory / "encoder")),
        large={"train": ["moods.jsonl"], **_SPLIT},
        small={"train": ["people.conll"], **_SPLIT},
        data_directory=directory,
        cache=directory / "cache",
        shares=(0.25, 1.0),
        seeds=(0, 1),
        steps=4,
        batch_texts=8,
        head_rate=1e-2,
    )


def test_every_contender_makes_the_same_steps_and_is_in_the_table(tmp_path: Path) -> None:
    """The table is printed and written."""
    plan = replace(write_plan(tmp_path), shares=(1.0,), seeds=(0,))
    table = compare(plan, tmp_path / "out", Silent(), threads=1)
    results = [json.loads(line) for line in (tmp_path / "out" / "cells.jsonl").read_text().splitlines()]
    assert [result["contender"] for result in results] == [contender.name for contender in CONTENDERS]
    assert {result["steps"] for result in results} == {plan.steps}
    assert all(f"| {contender.name} |" in table for contender in CONTENDERS)
    assert (tmp_path / "out" / "comparison.md").read_text() == table
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"][0]["contender"] == "frozen"


def test_upper_layers_limit_every_strategy_that_tunes_the_encoder(tmp_path: Path) -> None:
    """The sentences above the table name the limit, and "end-to-end" is not compared twice."""
    plan = replace(write_plan(tmp_path), upper_layers=1)
    names = [contender.name for contender in CONTENDERS if contender.name != "end-to-end"]
    assert [cell.contender.name for cell in plan.cells[: len(names)]] == names
    limits = {contender.name: plan.build_run(contender, 0).training.upper_layers for contender in CONTENDERS}
    assert {name for name, limit in limits.items() if limit is None} == {"frozen", "transfer", "trunk"}
    assert set(limits.values()) == {None, 1}
    contenders = [contender for contender in CONTENDERS if contender.name in {"frozen", "upper layers only"}]
    few = replace(plan, contenders=contenders, shares=(1.0,), seeds=(0,))
    assert "its upper 1 layers learn" in compare(few, tmp_path / "out", Silent(), threads=1)


def test_a_cell_evicts_the_states_of_earlier_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache must hold the states of one cell, not of all cells."""
    contenders = [contender for contender in CONTENDERS if contender.name == "entities swapped"]
    plan = replace(write_plan(tmp_path), contenders=contenders, shares=(1.0,), seeds=(0, 1, 2), upper_layers=1)
    compare(plan, tmp_path / "out", Silent(), threads=1)
    total = sum(path.stat().st_size for path in (plan.cache / "states").glob("*.npy"))
    monkeypatch.setattr(module, "_CACHE_GIGABYTES", 0.8 * total / (1 << 30))
    compare(replace(plan, cache=tmp_path / "small"), tmp_path / "again", Silent(), threads=1)
    assert sum(path.stat().st_size for path in (tmp_path / "small" / "states").glob("*.npy")) <= 0.8 * total


def test_an_interrupted_comparison_trains_only_the_missing_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results are those of an uninterrupted comparison, apart from the seconds."""
    plan = replace(write_plan(tmp_path), contenders=CONTENDERS[:2], shares=(0.5,))
    compare(plan, tmp_path / "out", Silent(), threads=1)
    path = tmp_path / "out" / "cells.jsonl"
    complete = path.read_text()
    path.write_text(complete[: -len(complete.splitlines()[-1]) // 2])
    trained: list[Cell] = []

    def count(cell: Cell, *args: object, **options: object) -> object:
        trained.append(cell)
        return train_cell(cell, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train_cell", count)
    compare(plan, tmp_path / "out", Silent(), threads=1)
    assert len(trained) == 1
    before, after = ([json.loads(line) | {"seconds": 0} for line in text.splitlines()] for text in (complete, path.read_text()))
    assert after == before
    with pytest.raises(BadSettings, match=r"cells\.jsonl:1: a comparison with other settings or data"):
        compare(replace(plan, steps=5), tmp_path / "out", Silent(), threads=1)


def test_a_contender_may_add_texts_to_the_small_task(tmp_path: Path) -> None:
    """The contender sees the cell's share of the training texts and all held-out texts."""
    plan = replace(write_plan(tmp_path), shares=(0.25,), seeds=(0,))
    given: list[int] = []

    def augment(texts: Sequence[TaggedText], held_out: Sequence[str], seed: int) -> Sequence[TaggedText]:
        given.extend((len(texts), len(held_out), seed))
        return [TaggedText("kurt in bern", (Span("PER", 0, 4), Span("LOC", 8, 12)))] * 40

    plan = replace(plan, contenders=[CONTENDERS[0], Contender(name="more", training={}, augment=augment)])
    tasks = build_tasks(plan)
    store = StateCache(tmp_path / "states", max_gigabytes=1)
    plain, augmented = (train_cell(cell, plan, tasks, store=store, reporter=Silent()) for cell in plan.cells)
    sizes = {side: len(texts) for side, texts in tasks["ner"].sides.items()}
    assert given == [round(0.25 * sizes[Side.TRAIN]), sizes[Side.DEV] + sizes[Side.TEST], 0]
    assert plain.small != augmented.small


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"only": "magic"}, "--only: no strategy 'magic'; the strategies are: frozen; "),
        ({"shares": "2"}, "--shares: '2' is not"),
    ],
)
def test_the_command_refuses_unknown_strategies_and_shares(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    """Nothing is trained before."""
    with pytest.raises(BadSettings, match=reason):
        run_command(tmp_path / "out", data=tmp_path, encoder=str(tmp_path), cache=tmp_path, **change)

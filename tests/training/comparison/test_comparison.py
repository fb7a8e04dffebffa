"""The comparison: every strategy, the same steps for all, and a journal that survives being cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.model import tiny
from tests.model.runs import Silent
from worker.commands.training import compare as train_compare
from worker.errors import BadSettings
from worker.training.comparison import run as module
from worker.training.comparison.cells import build_result, build_tasks
from worker.training.comparison.plan import CONTENDERS, Contender
from worker.training.comparison.run import compare
from worker.training.comparison.small import small_plan
from worker.training.data.examples import Span, TaggedText
from worker.training.data.splits import Side
from worker.training.learning.state_cache import StateCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from worker.training.comparison.plan import Cell, ComparisonPlan

pytestmark = pytest.mark.model


def plan_in(directory: Path) -> ComparisonPlan:
    """Return a plan on the tiny encoder."""
    return small_plan(directory / "texts", directory / "cache", str(tiny.encoder_in(directory / "encoder")))


def test_all_strategies_make_the_same_steps(tmp_path: Path) -> None:
    """Each cell is scored, and in the table."""
    plan = replace(plan_in(tmp_path), shares=(1.0,), seeds=(0,))
    shown = compare(plan, tmp_path / "out", Silent(), threads=1)
    results = [json.loads(line) for line in (tmp_path / "out" / "cells.jsonl").read_text().splitlines()]
    assert [it["contender"] for it in results] == [it.name for it in CONTENDERS]
    assert {it["steps"] for it in results} == {plan.steps}
    assert all(f"| {it.name} |" in shown for it in CONTENDERS)
    assert "one model with both heads" in shown
    assert (tmp_path / "out" / "comparison.md").read_text() == shown
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"][0]["contender"] == "frozen"


def test_upper_layers_alone_may_learn_in_all_strategies(tmp_path: Path) -> None:
    """Where the encoder does; that is then told, and nobody is there twice."""
    plan = replace(plan_in(tmp_path), upper_layers=1)
    named = {it.name: it for it in CONTENDERS}
    assert [it.contender.name for it in plan.cells[: len(CONTENDERS) - 1]] == [it for it in named if it != "end-to-end"]
    learning = {name: plan.run(it, 0).training.upper_layers for name, it in named.items()}
    assert {name for name, it in learning.items() if it is None} == {"frozen", "transfer", "trunk"}
    assert set(learning.values()) == {None, 1}
    few = replace(plan, contenders=[named["frozen"], named["upper layers only"]], shares=(1.0,), seeds=(0,))
    assert "its upper 1 layers do" in compare(few, tmp_path / "out", Silent(), threads=1)


def test_what_earlier_cells_have_read_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept states of one cell must fit, not those of all."""
    chosen = [it for it in CONTENDERS if it.name == "entities swapped"]
    plan = replace(plan_in(tmp_path), contenders=chosen, shares=(1.0,), seeds=(0, 1, 2), upper_layers=1)
    compare(plan, tmp_path / "out", Silent(), threads=1)
    total = sum(it.stat().st_size for it in (plan.cache / "states").glob("*.npy"))
    monkeypatch.setattr(module, "_CACHE_GIGABYTES", 0.8 * total / (1 << 30))
    compare(replace(plan, cache=tmp_path / "small"), tmp_path / "again", Silent(), threads=1)
    assert sum(it.stat().st_size for it in (tmp_path / "small" / "states").glob("*.npy")) <= 0.8 * total


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was cut off is; the results are those of a comparison that was not cut off, but for the time."""
    plan = replace(plan_in(tmp_path), contenders=CONTENDERS[:2], shares=(0.5,))
    compare(plan, tmp_path / "out", Silent(), threads=1)
    path = tmp_path / "out" / "cells.jsonl"
    whole = path.read_text()
    path.write_text(whole[: -len(whole.splitlines()[-1]) // 2])
    done: list[Cell] = []

    def counting(cell: Cell, *args: object, **options: object) -> object:
        done.append(cell)
        return build_result(cell, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "result_of", counting)
    compare(plan, tmp_path / "out", Silent(), threads=1)
    assert len(done) == 1
    before, after = ([json.loads(line) | {"seconds": 0} for line in text.splitlines()] for text in (whole, path.read_text()))
    assert after == before
    with pytest.raises(BadSettings, match=r"cells\.jsonl:1: of a comparison with other settings or data"):
        compare(replace(plan, steps=5), tmp_path / "out", Silent(), threads=1)


def test_a_contender_may_bring_more_texts_for_the_scarce_task(tmp_path: Path) -> None:
    """Made from those that it has, which are as many as the share says; they change what is learned."""
    plan = replace(plan_in(tmp_path), shares=(0.25,), seeds=(0,))
    given: list[int] = []

    def more(texts: Sequence[TaggedText], held_out: Sequence[str], seed: int) -> Sequence[TaggedText]:
        given.extend((len(texts), len(held_out), seed))
        return [TaggedText("kurt in bern", (Span("PER", 0, 4), Span("LOC", 8, 12)))] * 40

    plan = replace(plan, contenders=[CONTENDERS[0], Contender(name="more", training={}, more=more)])
    tasks = build_tasks(plan)
    store = StateCache(tmp_path / "states", max_gigabytes=1)
    plain, richer = (build_result(it, plan, tasks, store=store, reporter=Silent()) for it in plan.cells)
    sizes = {side: len(it) for side, it in tasks["ner"].sides.items()}
    assert given == [round(0.25 * sizes[Side.TRAIN]), sizes[Side.DEV] + sizes[Side.TEST], 0]
    assert plain.scarce != richer.scarce


def test_the_command_writes_the_table_where_it_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between the marks of a document; what is not known is refused before anything is trained."""
    document = tmp_path / "page.md"
    document.write_text("# Page\n<!-- comparison -->\nold\n<!-- /comparison -->\nend\n")
    encoder = str(tiny.encoder_in(tmp_path / "encoder"))
    options = {
        "data": tmp_path,
        "encoder": encoder,
        "shares": "0.5",
        "num_seeds": 1,
        "steps": 2,
        "upper_layers": 0,
        "only": ("frozen",),
        "cache": tmp_path / "cache",
        "document": document,
        "is_quick": True,
    }
    train_compare.compare(tmp_path / "out", **options)  # type: ignore[arg-type]
    shown = capsys.readouterr().out
    assert document.read_text() == f"# Page\n<!-- comparison -->\n{shown}<!-- /comparison -->\nend\n"
    for change, reason in (
        ({"only": ("magic",)}, "--only: no strategy 'magic'; there are: frozen; "),
        ({"shares": "2", "is_quick": False}, "--shares: numbers above 0"),
        ({"document": tmp_path / "none.md"}, "none.md: cannot be read: No such file"),
    ):
        with pytest.raises(BadSettings, match=reason):
            train_compare.compare(tmp_path / "out", **options | change)  # type: ignore[arg-type]

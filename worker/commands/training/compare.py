"""Compare the strategies, and print the table."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.model.checkpoint.references import pinned
from worker.training.comparison.plan import CONTENDERS, ComparisonPlan
from worker.training.comparison.run import compare as run_comparison
from worker.training.comparison.small import small_plan
from worker.training.comparison.summary import within
from worker.training.progress import reporter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CORPUS = "broad-twitter-corpus"


def compare(
    output: Path,
    *,
    data: Path,
    encoder: str,
    shares: str,
    num_seeds: int,
    steps: int,
    upper_layers: int,
    only: Sequence[str],
    cache: Path,
    document: Path | None,
    is_quick: bool,
) -> None:
    """Do all of it, or what is left."""
    encoder = pinned(encoder)
    plan = small_plan(output / "texts", cache, encoder) if is_quick else _plan(data, encoder, cache)
    if not is_quick:
        plan = replace(plan, shares=_shares(shares), seeds=tuple(range(num_seeds)), steps=steps, upper_layers=upper_layers or None)
    if unknown := set(only) - {it.name for it in CONTENDERS}:
        raise BadSettings(f"--only: no strategy {unknown.pop()!r}; there are: {'; '.join(it.name for it in CONTENDERS)}")
    if only:
        plan = replace(plan, contenders=[it for it in CONTENDERS if it.name in only])
    before = _read(document) if document else ""
    within(before, "", name=str(document)) if document else None
    shown = run_comparison(plan, output, reporter(sys.stderr))
    if document:
        document.write_text(within(before, shown, name=str(document)))
    sys.stdout.write(shown)


def _plan(data: Path, encoder: str, cache: Path) -> ComparisonPlan:
    return ComparisonPlan(
        encoder=encoder,
        rich={"builtin": "ratings", "sections": ["movies"]},
        scarce={
            "train": [f"{_CORPUS}/{it}.conll" for it in "abegh"],
            "test": [f"{_CORPUS}/f.conll"],
            "joins_handles": True,
            "skips_untagged_handles": True,
        },
        data_directory=data,
        cache=cache,
    )


def _shares(written: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(it) for it in written.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < it <= 1 for it in shares):
        raise BadSettings(f"--shares: numbers above 0, up to 1, comma-separated, not {written!r}")
    return shares


def _read(document: Path) -> str:
    try:
        return document.read_text()
    except OSError as error:
        raise BadSettings(f"{document}: cannot be read: {error.strerror}") from error

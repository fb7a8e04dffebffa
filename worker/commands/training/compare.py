"""Compare the training strategies, and print the table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.model.checkpoint.references import pinned
from worker.training.comparison.plan import CONTENDERS, ComparisonPlan
from worker.training.comparison.run import compare as run_comparison
from worker.training.progress import build_reporter

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
) -> None:
    """Train all missing combinations of strategy, share and seed; raises `BadSettings` for an unknown strategy or share."""
    names = [contender.name for contender in CONTENDERS]
    if unknown := set(only) - set(names):
        raise BadSettings(f"--only: no strategy {unknown.pop()!r}; the strategies are: {'; '.join(names)}")
    plan = ComparisonPlan(
        encoder=pinned(encoder),
        large={"builtin": "ratings", "sections": ["movies"]},
        small={
            "train": [f"{_CORPUS}/{part}.conll" for part in "abegh"],
            "test": [f"{_CORPUS}/f.conll"],
            "joins_handles": True,
            "skips_untagged_handles": True,
        },
        data_directory=data,
        cache=cache,
        contenders=[contender for contender in CONTENDERS if not only or contender.name in only],
        shares=_parse_shares(shares),
        seeds=range(num_seeds),
        steps=steps,
        upper_layers=upper_layers or None,
    )
    sys.stdout.write(run_comparison(plan, output, build_reporter(sys.stderr)))


def _parse_shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(share) for share in text.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share <= 1 for share in shares):
        raise BadSettings(f"--shares: {text!r} is not a comma-separated list of numbers above 0 and up to 1; example: 0.05,0.2")
    return shares

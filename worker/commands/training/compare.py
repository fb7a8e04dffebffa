"""Compare the training strategies, and print the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.commands.training import flags
from worker.errors import BadSettings
from worker.model.checkpoint.references import pinned
from worker.training.config import DEFAULT_ENCODER
from worker.training.progress import build_reporter

_CORPUS = "broad-twitter-corpus"
Encoder = Annotated[str, typer.Option(help="The encoder: a directory, a package: reference or a Hugging Face name.")]
Shares = Annotated[str, typer.Option(help="Shares of the small task's texts, separated by commas. One small task per share.")]
Seeds = Annotated[
    int, typer.Option(min=1, help="Number of seeds. More seeds give narrower intervals and take proportionally longer.")
]


def compare(
    output: Annotated[Path, typer.Argument(help="The directory of the results. Existing results are not computed again.")],
    *,
    data: Annotated[Path, typer.Option(help=f"The directory with `{_CORPUS}`, CoNLL files a to h.")] = Path("ner"),
    encoder: Encoder = DEFAULT_ENCODER,
    shares: Shares = "0.01,0.05,0.2",
    seeds: Seeds = 3,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of each strategy.")] = 250,
    upper_layers: Annotated[
        int, typer.Option(min=0, help="How many layers of the encoder learn, from the top, if the encoder learns. 0: all.")
    ] = 0,
    only: Annotated[str, typer.Option(help="Strategies, separated by commas. Unset: all.")] = "",
    cache: flags.Cache = Path(".data"),
) -> None:
    """Compare the strategies on a large and a small task, with the same steps for all. An interrupted comparison continues."""
    flags.require_packages()
    from worker.training.comparison import plan as plans  # noqa: PLC0415  heavy
    from worker.training.comparison import run  # noqa: PLC0415  heavy

    names, chosen = [contender.name for contender in plans.CONTENDERS], {name.strip() for name in only.split(",")} - {""}
    if unknown := chosen - set(names):
        raise BadSettings(f"--only: no strategy {unknown.pop()!r}; the strategies are: {'; '.join(names)}")
    handles = {"joins_handles": True, "skips_untagged_handles": True}
    plan = plans.ComparisonPlan(
        encoder=pinned(encoder),
        large={"builtin": "ratings", "sections": ["movies"]},
        small={"train": [f"{_CORPUS}/{part}.conll" for part in "abegh"], "test": [f"{_CORPUS}/f.conll"]} | handles,
        data_directory=data,
        cache=cache,
        contenders=[contender for contender in plans.CONTENDERS if not chosen or contender.name in chosen],
        shares=_parse_shares(shares),
        seeds=range(seeds),
        steps=steps,
        upper_layers=upper_layers or None,
    )
    sys.stdout.write(run.compare(plan, output, build_reporter(sys.stderr)))


def _parse_shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(share) for share in text.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share <= 1 for share in shares):
        raise BadSettings(f"--shares: {text!r} is not a comma-separated list of numbers above 0 and up to 1; example: 0.05,0.2")
    return shares

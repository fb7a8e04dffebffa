"""All heads of an encoder: each kind says the same whichever way the encoder runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.model.backends import native as ways
from tests.model.encoders import SENTENCES, small_teacher
from worker.model.backends.compiled import Compiled
from worker.model.backends.eager import Eager
from worker.model.checkpoint import checkpoint
from worker.model.encoder.encoder import Encoder, to_weights
from worker.model.encoder.encoder_config import EncoderConfig
from worker.model.encoder.quantization import predictions
from worker.model.engine import Engine
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.heads.multitask import MultiTaskHeads, MultiTaskOutputs
from worker.model.pooling.pooling import PoolingConfig
from worker.model.text.packing import pack
from worker.model.text.windows import Windowing

if TYPE_CHECKING:
    from pathlib import Path

    from worker.model.backends.arithmetics import Arithmetic
    from worker.model.backends.choice import Backend
    from worker.model.backends.native.build import Variant

CONFIG = EncoderConfig(
    vocab_size=50,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=448,
    max_position_embeddings=64,
)
CONFIGS = [
    HeadConfig(name="several", task="classify", labels=tuple("abcd"), layers=(1, 2), is_multi_label=True),
    HeadConfig(name="deep", task="classify", labels=tuple("ab"), layers=(2,), hidden_size=32, num_hidden_layers=3),
    HeadConfig(name="wide", task="ner", labels=("O", "B-X", "I-X"), layers=(1, 2), hidden_size=32, context_words=3, has_crf=True),
    HeadConfig(name="deep words", task="ner", labels=("O", "B-X", "I-X"), layers=(0, 2), hidden_size=64, num_hidden_layers=2),
]
NAMES = [config.name for config in CONFIGS]


def encoder() -> Encoder:
    """Return a small encoder with random weights."""
    torch.manual_seed(0)
    return Encoder(CONFIG).eval()


def outputs(backend: Backend) -> MultiTaskOutputs:
    """Return what the heads say of a few texts."""
    torch.manual_seed(1)
    heads = MultiTaskHeads(
        CONFIG,
        PoolingConfig(pooling="mean", is_normalized=True, max_tokens=None),
        [Head(config, CONFIG.hidden_size).to_weights() for config in CONFIGS],
    )
    packed = pack([np.arange(length, dtype=np.int32) for length in (3, 40, 1)])
    results = backend.begin(packed, heads.readings(is_embedding=True, heads=NAMES))
    return heads.collect(results.wait(), is_embedding=True, heads=NAMES)


def test_each_kind_of_head_is_asked_by_its_name() -> None:
    """A row for each text or each token, as many numbers as the kind needs."""
    found = outputs(Eager(encoder(), device=torch.device("cpu"), dtype=torch.float32))
    shapes = {name: tuple(logits.shape) for name, logits in found.logits.items()}
    assert shapes == {"several": (3, 4), "deep": (3, 1), "wide": (44, 21), "deep words": (44, 3)}
    assert found.vectors is not None
    assert found.vectors.shape == (3, 128)


@pytest.mark.parametrize(("variant", "arithmetic"), [way for way in ways.WAYS if not way[1].is_calibrated])
def test_the_kernels_and_torch_agree_on_each_kind(variant: Variant, arithmetic: Arithmetic) -> None:
    """A head with several hidden layers, too."""
    exact = outputs(Eager(encoder(), device=torch.device("cpu"), dtype=torch.float32))
    found = outputs(Compiled(to_weights(encoder()), arithmetic, variant=variant))
    tolerance = 0.03 if arithmetic.is_tiled else 1e-3
    for name in NAMES:
        np.testing.assert_allclose(found.logits[name], exact.logits[name], atol=tolerance, rtol=tolerance)


@pytest.mark.model
def test_a_checkpoint_of_every_kind_is_served(tmp_path: Path, minilm: Path) -> None:
    """As it was saved: several labels or none, and words that hear their neighbours across the seams of windows."""
    teacher = small_teacher(tmp_path, minilm, num_layers=2)
    torch.manual_seed(1)
    heads = [Head(config, 64) for config in CONFIGS]
    words = heads[NAMES.index("wide")]
    assert words.transitions is not None
    torch.nn.init.normal_(words.transitions)
    checkpoint.save(tmp_path / "all", name="all", encoder_reference=str(teacher), heads=heads, training={}, card="")
    loaded = checkpoint.load(str(tmp_path / "all"))
    restored = loaded.modules["wide"]
    assert restored.config == words.config
    assert restored.transitions is not None
    assert torch.equal(restored.transitions, words.transitions)
    windowing = Windowing(overlap_tokens=16, max_windows=4)
    engine = Engine.load(str(tmp_path / "all"), device="cpu", dtype="float32", backend="eager", windowing=windowing)
    found = predictions(engine, [*SENTENCES[:3], " ".join(SENTENCES[3:12])])
    assert not any(prediction.failures for prediction in found)
    for prediction in found:
        assert prediction.labels is not None
        scores = prediction.labels["several"].scores
        assert prediction.labels["several"].labels == tuple(label for label, score in scores.items() if score >= 0.5)
        assert prediction.labels["deep"].labels is None
    assert {entity.task for prediction in found for entity in prediction.entities or ()} <= {"wide", "deep words"}
    assert any(entity.task == "wide" for prediction in found for entity in prediction.entities or ())

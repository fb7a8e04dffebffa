"""A student begins as some of its teacher's layers, comes closer to it, and is served like any encoder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.model.encoders import SENTENCES, small_teacher
from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.encoder.encoder import Encoder
from worker.model.encoder.encoder_config import EncoderConfig
from worker.model.encoder.packed_tensors import PackedTensors
from worker.model.encoder.quantization import predictions
from worker.model.engine import Engine
from worker.model.pooling.pooling import Pooling, PoolingConfig
from worker.model.text.packing import pack
from worker.training.encoders.distill import DistillOptions, build_student, distill, loss, spread_layers
from worker.training.encoders.steps import StepOptions, check_family

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model


def test_a_student_begins_as_the_layers_that_it_takes(tmp_path: Path, minilm: Path) -> None:
    """A student of the first two layers has the teacher's states after two layers."""
    teacher = checkpoint.load(str(small_teacher(tmp_path, minilm, num_layers=3))).encoder
    student = build_student(teacher, (1, 2)).eval()
    batch = PackedTensors.from_packed(pack([np.arange(9, dtype=np.int32)]), device=torch.device("cpu"), dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(student(batch, [2])[2], teacher(batch, [2])[2])
    for layers in ((), (0, 1), (2, 1), (1, 1), (1, 4), (1, 2, 3)):
        with pytest.raises(BadSettings, match="fewer layers than its teacher"):
            build_student(teacher, layers)
    assert spread_layers(6, 3) == (2, 4, 6)
    assert spread_layers(12, 5) == (2, 4, 7, 9, 12)


def test_the_loss_is_nothing_where_student_and_teacher_agree() -> None:
    """The length of a vector does not change the loss; the size of a token state does."""
    x, y = torch.eye(3), torch.eye(3).roll(1, 0)
    assert loss((x, 2 * x), (y, y), token_weight=1.0) == pytest.approx(0)
    assert loss((x, y), (y, y), token_weight=1.0) == pytest.approx(1)
    assert loss((x, x), (2 * y, y), token_weight=0.5) == pytest.approx(0.5)


def test_a_student_comes_closer_and_is_served(tmp_path: Path, minilm: Path) -> None:
    """The same seed gives the same bytes, and the engine serves the student with the reported similarity."""
    teacher = small_teacher(tmp_path, minilm, num_layers=3)
    lines: list[str] = []
    reports = [
        distill(
            DistillOptions(
                teacher=str(teacher),
                output=tmp_path / name,
                layers=(1, 3),
                steps=StepOptions(epochs=3, max_batch_tokens=400, learning_rate=2e-3),
            ),
            SENTENCES,
            lines.append,
        )
        for name in ("one", "two")
    ]
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (tmp_path / "two" / "model.safetensors").read_bytes()
    before, after = reports[0].before, reports[0].after
    assert before.mean_cosine is not None
    assert after.mean_cosine is not None
    assert after.mean_cosine > before.mean_cosine
    assert json.loads((tmp_path / "one" / "report.json").read_text())["after"]["mean_cosine"] == after.mean_cosine
    engine = Engine.load(str(tmp_path / "one"), device="cpu", dtype="float32", backend="eager")
    original = Engine.load(str(teacher), device="cpu", dtype="float32", backend="eager")
    vectors = [[prediction.embedding for prediction in predictions(entry, SENTENCES[:40])] for entry in (engine, original)]
    assert np.mean([a @ b for a, b in zip(*vectors, strict=True) if a is not None and b is not None]) > before.mean_cosine


@pytest.mark.parametrize(
    ("family", "pooling", "reason"),
    [("roberta", "mean", "a roberta encoder cannot be distilled"), ("bert", "max", "with mean or CLS pooling")],
)
def test_a_teacher_that_cannot_be_written_is_refused(family: str, pooling: Pooling, reason: str) -> None:
    """Before anything is trained, with the reason."""
    config = EncoderConfig(
        vocab_size=8,
        hidden_size=8,
        intermediate_size=8,
        max_position_embeddings=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        family=family,
    )
    encoder = Encoder(config)
    sentence = PoolingConfig(pooling=pooling, is_normalized=True, max_tokens=None)
    with pytest.raises(BadModel, match=reason):
        check_family(encoder, sentence, "teacher")

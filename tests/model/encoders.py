"""A small encoder with random weights, and sentences to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from worker.model.encoder.encoder import Encoder
from worker.model.encoder.encoder_config import EncoderConfig
from worker.training.encoders import steps as encoders
from worker.training.synthetic import templates
from worker.training.synthetic.generate import HeldOutTexts, generate

if TYPE_CHECKING:
    from pathlib import Path

SENTENCES = [text.text for text in generate([templates.read(templates.BUILT_IN)], 300, HeldOutTexts([]), seed=0).texts]


def small_teacher(folder: Path, minilm: Path, *, num_layers: int) -> Path:
    """Write an encoder of the words of MiniLM, 64 dimensions and random weights; return its directory."""
    torch.manual_seed(0)
    shape = EncoderConfig(
        vocab_size=30_522,
        hidden_size=64,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    encoders.write(folder / "teacher", Encoder(shape), base=minilm, report={}, card="")
    return folder / "teacher"

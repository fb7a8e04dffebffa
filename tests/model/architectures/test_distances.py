"""Distances fall into the buckets of the published code."""

from __future__ import annotations

import numpy as np
import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from worker.model.architectures.distances import find_bias_buckets, find_distance_rows
from worker.model.encoder.encoder_config import AttentionConfig

LENGTH = 1200
DISTANCES = torch.arange(1 - LENGTH, LENGTH)


def test_buckets_of_a_bias_are_mpnets() -> None:
    """Also at the edges of buckets, where a logarithm is a whole number."""
    expected = MPNetEncoder.relative_position_bucket(DISTANCES)
    np.testing.assert_array_equal(find_bias_buckets(32, LENGTH), expected.numpy())


def test_rows_of_distances_are_debertas() -> None:
    """In buckets, as v3 has them, and without."""
    rows = (make_log_bucket_position(DISTANCES, 256, 512).long() + 256).clamp(0, 511)
    np.testing.assert_array_equal(find_distance_rows(AttentionConfig(span=256, max_distance=512), LENGTH), rows.numpy())
    plain = (DISTANCES + 128).clamp(0, 255)
    np.testing.assert_array_equal(find_distance_rows(AttentionConfig(span=128), LENGTH), plain.numpy())

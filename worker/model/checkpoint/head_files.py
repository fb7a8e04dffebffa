"""The heads and the calibration of a checkpoint, as its files hold them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worker.errors import BadModel
from worker.model.checkpoint.atomic_files import atomic_write
from worker.model.checkpoint.manifest import verify_files
from worker.model.encoder.encoder_config import CALIBRATED
from worker.model.heads.head_config import HeadConfig, HeadWeights
from worker.model.published_heads.head import PublishedHead, PublishedHeadConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.heads.readout import AnyHead

    Floats = NDArray[np.float32]

HEADS = "heads.safetensors"
INT8 = "int8.safetensors"
# The manifest's key for a head that was published with its encoder.
_PUBLISHED = "is_published"


def save_heads(path: Path, heads: Sequence[AnyHead | PublishedHead]) -> None:
    """Write the parameters of heads; raises `BadSettings` where the disk is full."""
    tensors = {
        f"{head.config.name}.{parameter}": np.array(value)
        for head in heads
        for parameter, value in (head if isinstance(head, PublishedHead) else head.to_weights()).arrays().items()
    }
    with atomic_write(path) as part:
        save_file(tensors, part)


def describe_heads(heads: Sequence[AnyHead | PublishedHead]) -> list[dict[str, Any]]:
    """Return the configurations of heads as a manifest has them."""
    return [asdict(head.config) | ({_PUBLISHED: True} if head.config.is_published else {}) for head in heads]


def load_ranges(directory: Path, manifest: Mapping[str, Any], encoder: EncoderConfig) -> dict[str, Floats]:
    """Return the range of each product of the calibration; raises `BadModel` for that of another encoder."""
    verify_files(directory, {INT8: manifest["int8"]["sha256"]})
    try:
        ranges = load_file(directory / INT8)
    except SafetensorError as error:
        raise BadModel(f"{directory / INT8}: {error}") from error
    expected = {f"{number}.{kind}" for number in range(encoder.num_hidden_layers) for kind in CALIBRATED}
    if ranges.keys() != expected or not all(
        len(sizes) == encoder.hidden_size and np.isfinite(sizes).all() for sizes in ranges.values()
    ):
        raise BadModel(f"{directory / INT8}: not the calibration of this encoder")
    return ranges


def load_heads(directory: Path, manifest: Mapping[str, Any], encoder: EncoderConfig) -> list[HeadWeights | PublishedHead]:
    """Return the heads of a manifest; raises `BadModel` where the file of their parameters does not agree."""
    verify_files(directory, {HEADS: manifest["heads_sha256"]})
    heads: list[HeadWeights | PublishedHead] = []
    try:
        tensors = load_file(directory / HEADS)
        for written in manifest["heads"]:
            fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in written.items()}
            prefix = f"{fields['name']}."
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            if fields.pop(_PUBLISHED, False):
                heads.append(PublishedHead.read(PublishedHeadConfig(**fields), encoder.hidden_size, own))
            else:
                heads.append(HeadWeights.read(HeadConfig(**fields), encoder.hidden_size, own))
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        raise BadModel(f"{directory / HEADS}: not the heads of the manifest: {error}") from error
    if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
        raise BadModel(f"{directory / HEADS}: it holds numbers that are not finite")
    return heads

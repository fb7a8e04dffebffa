"""Read the head of a published classifier or tagger from `config.json` and the weights. Without torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from worker.errors import BadModel
from worker.model.architectures.registry import find_family
from worker.model.checkpoint.mapped_tensors import map_tensors
from worker.model.published_heads.forms import HeadForm, find_form, find_labels, find_problem
from worker.model.published_heads.head import PublishedHead, PublishedHeadConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.encoder.encoder_config import EncoderConfig

    Floats = NDArray[np.float32]


def name_head_tensors(directory: Path) -> list[str]:
    """Return what the tensors of the head that `config.json` names may be called; nothing for an encoder without a head."""
    published = json.loads((directory / "config.json").read_bytes())
    form, prefixes = find_form(published), ("", *find_family(published["model_type"]).prefixes)
    layers = form.name_layers() if form else ()
    return [f"{prefix}{name}.{kind}" for name in layers for kind in ("weight", "bias") for prefix in prefixes]


def read_head(directory: Path, weights: Path, encoder: EncoderConfig, *, name: str) -> PublishedHead | None:
    """Read the head of a published directory, to be called `name`; None for an encoder without a head.

    Raises `BadModel` where the labels and the weights do not agree, or the labels are not a tagging scheme.
    """
    path = directory / "config.json"
    published: dict[str, Any] = json.loads(path.read_bytes())
    form = find_form(published)
    if form is None:
        return None
    arrays = _read_arrays(weights, form, find_family(encoder.family).prefixes)
    num_labels = len(arrays["output.weight"])
    labels = find_labels(path, published, num_labels)
    problem = find_problem(path, published, num_labels) if form.task == "classify" else None
    try:
        config = PublishedHeadConfig(
            name=name,
            task=form.task,
            labels=labels,
            layers=(encoder.num_hidden_layers,),
            is_multi_label=problem == "multi_label_classification",
            is_regression=problem == "regression",
            activation=form.activation,
            pooling="mean" if form.pooling == "mean" else None if form.pooling is None else "cls",
            norm_epsilon=float(published.get("norm_eps", 1e-5)),
        )
        return PublishedHead.read(config, encoder.hidden_size, arrays)
    except (BadModel, ValueError) as error:
        raise BadModel(f"{directory}: {error}") from error


def _read_arrays(path: Path, form: HeadForm, prefixes: Sequence[str]) -> dict[str, Floats]:
    """Return the arrays of a head by our names for its layers; the names in the file may begin with one of `prefixes`."""
    ours = {source: own for own, source in (("hidden", form.hidden), ("norm", form.norm), ("output", form.output)) if source}
    sources = {
        f"{prefix}{source}.{kind}": f"{own}.{kind}"
        for source, own in ours.items()
        for kind in ("weight", "bias")
        for prefix in ("", *prefixes)
    }
    try:
        with safe_open(path, framework="numpy") as published:
            names = sources.keys() & set(published.keys())
            found = {sources[name] for name in names}
            if missing := sorted(f"{source}.weight" for source, own in ours.items() if f"{own}.weight" not in found):
                raise BadModel(f"{path}: the head that config.json names is not there: the tensor {missing[0]} is missing")
        tensors = map_tensors(path, names)
    except (OSError, SafetensorError, ValueError) as error:
        raise BadModel(f"{path}: not the weights of this head: {error}") from error
    arrays = {sources[name]: np.array(tensor) for name, tensor in tensors.items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise BadModel(f"{path}: the head holds numbers that are not finite")
    return arrays

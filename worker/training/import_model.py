"""Import a published model: a checkpoint of its files with provenance, or its head in an existing checkpoint."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.manifest import MANIFEST
from worker.model.checkpoint.publication import WEIGHTS
from worker.model.checkpoint.references import compute_sha256, locate
from worker.model.published_heads.head import PublishedHead
from worker.model.text import trial_texts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LICENCE = re.compile(rb"^license:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModel:
    """A published model that was loaded and verified."""

    loaded: checkpoint.Checkpoint
    #: Its head with the name that its results will carry; None for an encoder without a head.
    head: PublishedHead | None
    name: str
    #: Where the published files are on this machine.
    directory: Path
    #: Reference, revision, architecture, licence and the SHA-256 of the weights.
    provenance: Mapping[str, Any]


def read_model(reference: str, name: str | None) -> ImportedModel:
    """Load and verify a published model, to be called `name`; raises `BadModel`, and `BadSettings` for a checkpoint of ours."""
    located = locate(reference)
    if (located.directory / MANIFEST).exists():
        raise BadSettings(f"{reference}: this is a checkpoint already; import reads models as others publish them")
    loaded = checkpoint.load(reference)
    own = name or located.name
    heads = [head for head in loaded.heads.heads.values() if isinstance(head, PublishedHead)]
    config = json.loads((located.directory / "config.json").read_bytes())
    card = located.directory / "README.md"
    licence = _LICENCE.search(card.read_bytes()) if card.exists() else None
    provenance = {
        "source": reference,
        "revision": located.revision,
        "architecture": (config.get("architectures") or [config.get("model_type")])[0],
        "licence": licence[1].decode() if licence else None,
        "weights_sha256": compute_sha256(located.directory / WEIGHTS),
    }
    head = replace(heads[0], config=replace(heads[0].config, name=own)) if heads else None
    return ImportedModel(loaded=loaded, head=head, name=own, directory=located.directory, provenance=provenance)


def write_checkpoint(model: ImportedModel, target: Path, report: Mapping[str, Any]) -> None:
    """Write a checkpoint with a copy of the published files; raises `BadSettings` where the disk is full."""
    about = {**model.provenance, "report": dict(report)}
    checkpoint.save(
        target,
        name=model.name,
        encoder_reference=model.provenance["source"],
        heads=[model.head] if model.head else [],
        training={"imported": [about]},
        card=_build_card(model),
        copies_encoder=True,
        is_embedder=model.loaded.is_embedder,
    )


def check_target(model: ImportedModel, target: Path) -> None:
    """Raise `BadSettings` where the head of a model cannot share the pass of the checkpoint in a directory."""
    if model.head is None:
        raise BadSettings(f"{model.provenance['source']}: an encoder without a head has nothing to add to {target}")
    if not (target / MANIFEST).exists():
        raise BadSettings(f"{target}: not a checkpoint, which has a {MANIFEST}: import its model first")
    other = checkpoint.load(str(target))
    if model.name in other.heads.heads:
        raise BadSettings(f"{target}: the checkpoint has a head {model.name!r} already: choose another name with --name")
    ours, theirs = model.loaded.weights, other.weights
    texts = trial_texts.TEXTS
    is_same = ours.config == theirs.config and all(np.array_equal(ours.arrays[name], theirs.arrays[name]) for name in ours.arrays)
    if not is_same or [t.ids.tolist() for t in model.loaded.tokenizer.encode(texts)] != [
        t.ids.tolist() for t in other.tokenizer.encode(texts)
    ]:
        raise BadSettings(
            f"{target}: its encoder or tokenizer is not that of {model.provenance['source']}, and heads of one checkpoint share a "
            "forward pass: import the model into a directory of its own"
        )


def add_to_checkpoint(model: ImportedModel, target: Path, report: Mapping[str, Any]) -> None:
    """Add the head of a model to the checkpoint in a directory, after `check_target`."""
    if model.head is not None:
        checkpoint.add_head(target, model.head, {**model.provenance, "report": dict(report)})


def _build_card(model: ImportedModel) -> str:
    rows = [f"| {name} | {'unknown' if value is None else value} |" for name, value in model.provenance.items()]
    labels = f"The labels of the head are {', '.join(model.head.config.labels)}." if model.head else "The model has no head."
    return "\n".join(
        [
            f"# {model.name}",
            "",
            f"A published model, imported by `gist-stream import`. {labels}",
            "",
            "| | |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )

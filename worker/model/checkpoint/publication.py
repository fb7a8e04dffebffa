"""Refuse by name what a published directory holds and this worker would leave out: other heads, decoders, other forms of weights.

What is ignored changes no vector: the pooler, and the heads of pretraining (masked words, next sentence), which say how an encoder
was made and not what it is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.errors import BadModel
from worker.model.architectures.registry import describe, find_family, read_json
from worker.model.published_heads.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from worker.model.architectures.family import Family
    from worker.model.encoder.encoder_config import EncoderConfig

WEIGHTS = "model.safetensors"
# Keys of the configuration that change what the encoder computes, where they are set.
_CHANGES = {
    "is_decoder": "is a decoder, which reads no token after the present one",
    "add_cross_attention": "attends to another encoder (add_cross_attention)",
    "pruned_heads": "has pruned attention heads (pruned_heads)",
    "quantization_config": "has quantized weights (quantization_config)",
}
# Files of a directory that change what its weights compute, or hold a head that is no tensor of the encoder.
_OTHER_PARTS = {
    "config_setfit.json": "a SetFit classifier, whose head would be dropped",
    "model_head.*": "a classifier's head in a file of its own, which would be dropped",
    "adapter_config.json": "an adapter (PEFT), which would be dropped: merge it into the encoder first",
}
_MOST_NAMED = 8
_LFS = b"version https://git-lfs"
_OTHER_WEIGHTS = ("*.safetensors", "*.bin", "*.h5", "*.msgpack", "*.onnx", "onnx/*.onnx", "*.gguf", "*.pt", "*.pth", "*.ckpt*")
_ALONE = (
    "To serve the vectors of its encoder, save the encoder alone with `AutoModel.from_pretrained(…).save_pretrained(…)` and copy "
    "the tokenizer's files"
)


def read_config(path: Path) -> EncoderConfig:
    """Read a published `config.json`; raises `BadModel` for anything but an encoder of a family that is known."""
    published = read_json(path)
    config = describe(path, published)
    family = find_family(config.family)
    _check_files(path.parent)
    architectures = published.get("architectures") or []
    if not isinstance(architectures, list):
        raise BadModel(f"{path}: architectures is {architectures!r}, not a list of names")
    for architecture in architectures:
        if architecture not in family.encoders and architecture not in FORMS:
            raise BadModel(
                f"{path}: a {architecture}{_labels(published)} cannot be served: its head would be dropped. Served are encoders "
                f"and their heads for sequence and token classification. {_ALONE}"
            )
    for key, reason in _CHANGES.items():
        if published.get(key):
            raise BadModel(f"{path}: the model {reason}: only plain encoders are supported")
    if "AutoModel" in (published.get("auto_map") or {}) and not family.is_published_with_code:
        raise BadModel(f"{path}: the model asks for code of its own (auto_map), and no code of a model is run")
    return config


def _check_files(directory: Path) -> None:
    """Raise `BadModel` where another file shows that the weights are only a part of the published model."""
    for pattern, part in _OTHER_PARTS.items():
        if found := next(iter(sorted(directory.glob(pattern))), None):
            raise BadModel(f"{found}: the directory holds {part}. {_ALONE}")


def _labels(published: Mapping[str, Any]) -> str:
    """Return the labels of a head in brackets; nothing where the configuration names none."""
    labels = published.get("id2label")
    if not isinstance(labels, dict) or not labels:
        return ""
    names = [str(label) for label in labels.values()]
    more = f", … {len(names)} in all" if len(names) > _MOST_NAMED else ""
    return f" ({', '.join(names[:_MOST_NAMED])}{more})"


def check_tensors(path: Path, names: Collection[str], used: Collection[str], family: Family, prefix: str) -> None:
    """Raise `BadModel` where a file of weights holds more than the encoder and what may be ignored."""
    unknown = sorted(name for name in set(names) - set(used) if not name.removeprefix(prefix).startswith(family.ignored))
    if unknown:
        more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
        raise BadModel(
            f"{path}: these weights are not part of the encoder that config.json describes, and would be dropped: "
            f"{', '.join(unknown[:_MOST_NAMED])}{more}. {_ALONE}"
        )


def find_weights(directory: Path) -> Path:
    """Return the file of a directory's weights; raises `BadModel` with the weights that are there instead."""
    path = directory / WEIGHTS
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise BadModel(f"{path}: a pointer of Git LFS and not the weights: run `git lfs pull` in the directory")
        return path
    if path.is_symlink() or path.exists():
        raise BadModel(f"{path}: a link to a missing file, or no file: copy or download the weights again")
    if not any(directory.iterdir()):
        raise BadModel(f"{directory}: the directory is empty")
    found = sorted({str(file.relative_to(directory)) for pattern in _OTHER_WEIGHTS for file in directory.glob(pattern)})
    if not found:
        raise BadModel(f"{directory}: there are no weights: {WEIGHTS} is missing")
    if (directory / f"{WEIGHTS}.index.json").exists():
        form = f"the weights are in {len(found)} files ({found[0]}, …)"
    else:
        form = f"there is {', '.join(found[:_MOST_NAMED])} and no {WEIGHTS}"
    raise BadModel(
        f"{directory}: {form}, and only a single {WEIGHTS} is loaded. Write one with "
        f"`{_find_loader(directory)}.from_pretrained(…).save_pretrained(…, max_shard_size='100GB')` and copy the tokenizer's files"
    )


def _find_loader(directory: Path) -> str:
    """Return the class of transformers that loads a published model together with its head."""
    architecture = str(next(iter(read_json(directory / "config.json").get("architectures") or ()), ""))
    return f"AutoModelFor{architecture.rpartition('For')[2]}" if architecture in FORMS else "AutoModel"

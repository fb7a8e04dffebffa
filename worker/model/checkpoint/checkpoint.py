"""A model directory: an encoder by reference, heads of its own, and a manifest against which everything is verified.

    manifest.json        name, encoder (reference and the sha256 of its files), heads, sha256 of the heads, how it was trained
    heads.safetensors    the parameters of every head, named `<head>.<parameter>`
    encoder/             where it was tuned: the files of the encoder, as they are published; the reference says what it was
    int8.safetensors     where it was calibrated for 8-bit products: the range of each channel, named `<layer>.<product>`
    README.md            the model card

A reference to a bare encoder, without a manifest, is a model too: it embeds, and has no heads.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from worker.errors import BadModel
from worker.model.checkpoint.atomic_files import atomic_write
from worker.model.checkpoint.head_files import HEADS, INT8, describe_heads, load_heads, load_ranges, save_heads
from worker.model.checkpoint.manifest import FORMAT, MANIFEST, read_manifest, verify_files, write_manifest
from worker.model.checkpoint.publication import WEIGHTS, find_weights, read_config
from worker.model.checkpoint.references import Located, compute_sha256, locate
from worker.model.checkpoint.tokenizer_files import TOKENIZER_FILES, read_max_tokens
from worker.model.encoder.encoder_weights import EncoderWeights, read_published
from worker.model.heads.multitask import MultiTaskHeads
from worker.model.pooling.pooling import SENTENCE_FILES, PoolingConfig
from worker.model.published_heads.head import PublishedHead
from worker.model.published_heads.reading import name_head_tensors, read_head
from worker.model.text.prompts import choose_prompt, find_warnings
from worker.model.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from worker.model.encoder.encoder import Encoder
    from worker.model.encoder.encoder_config import EncoderConfig
    from worker.model.heads.heads import Head
    from worker.model.heads.readout import AnyHead
    from worker.model.text.windows import LongTexts

    Floats = NDArray[np.float32]

# The folder of an encoder of its own, and the manifest's key for it.
OWN_ENCODER, _FOLDER = "encoder", "folder"
# What an encoder is made of; those that are there are pinned by their sha256.
ENCODER_FILES = ("config.json", WEIGHTS, *TOKENIZER_FILES, *SENTENCE_FILES)
_DIGITS_OF_REVISION = 12


@dataclass(frozen=True)
class Checkpoint:
    """A model as it was loaded and verified: arrays in fp32. Training and the backends of PyTorch build modules from these."""

    #: `name@revision`.
    name: str
    weights: EncoderWeights
    heads: MultiTaskHeads
    tokenizer: Tokenizer
    #: The longest text, or window of one, in tokens, special tokens included.
    max_tokens: int
    #: The result of `quantization.measure_ranges`, where the model was calibrated.
    ranges: dict[str, Floats] | None
    #: Whether the vectors are a result: those of a published classifier or tagger, without a configuration of its vectors, are not.
    is_embedder: bool
    #: How far 8-bit products are from fp32, as `quantization.Difference` has it, where it was calibrated.
    difference: Mapping[str, float] | None
    #: The characters before each text; empty for none.
    prompt: str
    #: What is unusual about the model and its options, a line for each.
    warnings: tuple[str, ...]
    #: Waits until the files of the encoder are verified; raises `BadModel` for a damaged file.
    confirm: Callable[[], None] = lambda: None

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder as a module of PyTorch, with a copy of the weights."""
        from worker.model.encoder.encoder import build_encoder  # noqa: PLC0415  heavy, and not needed to serve

        return build_encoder(self.weights)

    @cached_property
    def modules(self) -> dict[str, Head]:
        """The heads as modules of PyTorch, by name, with copies of the weights; published heads are not trained on."""
        from worker.model.heads.heads import Head  # noqa: PLC0415  the same

        own = {name: head for name, head in self.heads.heads.items() if not isinstance(head, PublishedHead)}
        return {name: Head.from_weights(head.to_weights()).eval() for name, head in own.items()}


def load(
    reference: str, *, max_tokens: int | None = None, windowing: LongTexts | None = None, prompt: str = "", dimensions: int = 0
) -> Checkpoint:
    """Load and verify a model in fp32; raises `BadModel`, naming the file, where anything is not what it should be.

    `max_tokens` shortens the longest text; the default is what the model was published for. With `windowing`, that is the longest
    window of a text. `prompt` is the name of a published prompt or a literal; empty for the default prompt. Of a vector the first
    `dimensions` are kept; 0 for all. Raises `BadSettings` for a prompt and dimensions that the model does not have.
    """
    options: dict[str, Any] = {"max_tokens": max_tokens, "windowing": windowing, "prompt": prompt, "dimensions": dimensions}
    with open_while_verifying(reference, **options) as loaded:
        return loaded


@contextmanager
def open_while_verifying(reference: str, **options: Any) -> Iterator[Checkpoint]:
    """Provide a model while a thread verifies the files of its encoder; `options` are those of `load`.

    The end of the context waits for the thread, and raises `BadModel` for a damaged file rather than an error of its contents.
    """
    located = locate(reference)
    manifest = read_manifest(located.directory / MANIFEST) if (located.directory / MANIFEST).exists() else None
    directory = _encoder_located(located, manifest).directory
    with ThreadPoolExecutor(max_workers=1) as threads:
        verifying = threads.submit(verify_files, directory, manifest["encoder"]["files"] if manifest else {})
        try:
            yield replace(_read(located, manifest, directory, **options), confirm=verifying.result)
        finally:
            verifying.result()


def _read(
    located: Located,
    manifest: Mapping[str, Any] | None,
    directory: Path,
    *,
    max_tokens: int | None = None,
    windowing: LongTexts | None = None,
    prompt: str = "",
    dimensions: int = 0,
) -> Checkpoint:
    """Read a model whose encoder is in a directory."""
    config = read_config(directory / "config.json")
    weights = find_weights(directory)
    sentence = PoolingConfig.read(directory).cut(dimensions, config.hidden_size)
    longest = _find_longest(located.reference, directory, config, sentence, max_tokens)
    name, about = manifest["name"] if manifest else located.name, manifest or {}
    chosen, is_lowercased = choose_prompt(name, prompt, sentence), sentence.do_lower_case
    tokenizer = Tokenizer.read(directory, max_tokens=longest, windowing=windowing, is_lowercased=is_lowercased, prompt=chosen)
    tokenizer.check_ids(directory, config.vocab_size)
    published = None if manifest else read_head(directory, weights, config, name=located.name)
    heads = load_heads(located.directory, manifest, config) if manifest else [published] if published else []
    revision = _find_revision(manifest) if manifest else located.revision or compute_sha256(weights)
    return Checkpoint(
        name=f"{name}@{revision[:_DIGITS_OF_REVISION]}",
        weights=read_published(config, weights, others=name_head_tensors(directory)),
        heads=MultiTaskHeads(config, sentence, heads),
        tokenizer=tokenizer,
        max_tokens=longest,
        is_embedder=about.get("embeds", sentence.is_configured or published is None),
        ranges=load_ranges(located.directory, about, config) if "int8" in about else None,
        difference=about.get("int8", {}).get("difference"),
        prompt=tokenizer.prompt,
        warnings=find_warnings(directory, name, prompt, sentence, has_heads=bool(heads)),
    )


def _find_revision(manifest: Mapping[str, Any]) -> str:
    """Return the revision of a checkpoint: of the heads, or of the encoder if there are no heads, whose file is always the same."""
    revision: str = manifest["heads_sha256"] if manifest["heads"] else manifest["encoder"]["files"][WEIGHTS]
    return revision


def _find_longest(reference: str, directory: Path, config: EncoderConfig, sentence: PoolingConfig, max_tokens: int | None) -> int:
    """Return the longest text in tokens: `max_tokens`, or what the model was published for; raises `BadModel`."""
    if max_tokens is not None and max_tokens > config.max_tokens:
        raise BadModel(f"{reference}: it has {config.max_tokens} positions, so texts of {max_tokens} tokens are too long")
    return max_tokens or min(config.max_tokens, sentence.max_tokens or read_max_tokens(directory) or config.max_tokens)


def build_encoder(reference: str) -> Located:
    """Return where the encoder of a model is: a reference to it alone, and its directory; raises `BadModel`."""
    located = locate(reference)
    manifest = read_manifest(located.directory / MANIFEST) if (located.directory / MANIFEST).exists() else None
    return _encoder_located(located, manifest)


def _encoder_located(located: Located, manifest: Mapping[str, Any] | None) -> Located:
    if manifest is None:
        return located
    folder = manifest["encoder"].get(_FOLDER)
    if folder is None:
        return locate(manifest["encoder"]["reference"])
    if folder != OWN_ENCODER:
        raise BadModel(f"{located.directory / MANIFEST}: an encoder of its own is in the folder {OWN_ENCODER!r}, not {folder!r}")
    return Located(f"{located.reference.rstrip('/')}/{folder}", located.directory / folder)


def save(
    directory: Path,
    *,
    name: str,
    encoder_reference: str,
    heads: Sequence[AnyHead | PublishedHead],
    training: Mapping[str, Any],
    card: str,
    encoder: Encoder | None = None,
    copies_encoder: bool = False,
    is_embedder: bool = True,
) -> None:
    """Write a checkpoint that `load` accepts; `training` says how the heads came to be, `card` is the model card.

    `encoder` is the one at `encoder_reference` where that was tuned: it is written too. With `copies_encoder`, the files of the
    encoder are copied as they are. The manifest comes last, so that a
    checkpoint is not taken for whole before it is. Raises `BadSettings` where the disk is full.
    """
    save_heads(directory / HEADS, heads)
    source = build_encoder(encoder_reference)
    if encoder is not None:
        _save_encoder(directory / OWN_ENCODER, source.directory, encoder)
    elif copies_encoder:
        _copy_encoder(directory / OWN_ENCODER, source.directory, ENCODER_FILES)
    own = {_FOLDER: OWN_ENCODER} if encoder is not None or copies_encoder else {}
    files = directory / OWN_ENCODER if own else source.directory
    pinned = {file: compute_sha256(files / file) for file in ENCODER_FILES if (files / file).exists()}
    manifest = {
        "format": FORMAT,
        "name": name,
        "encoder": {"reference": source.reference, **own, "files": pinned},
        "heads": describe_heads(heads),
        "heads_sha256": compute_sha256(directory / HEADS),
        "training": dict(training),
        **({} if is_embedder else {"embeds": False}),
    }
    with atomic_write(directory / "README.md") as part:
        part.write_text(card)
    write_manifest(directory, manifest)


def _save_encoder(directory: Path, source: Path, encoder: Encoder) -> None:
    """Write an encoder as it is published, with the files of the one that it came from."""
    from worker.model.encoder.encoder import published  # noqa: PLC0415  heavy, and needed after training only

    _copy_encoder(directory, source, [file for file in ENCODER_FILES if file != WEIGHTS])
    with atomic_write(directory / WEIGHTS) as part:
        save_file({name: tensor.numpy() for name, tensor in published(encoder).items()}, part, {"format": "pt"})


def _copy_encoder(directory: Path, source: Path, files: Sequence[str]) -> None:
    for file in files:
        if (source / file).exists():
            with atomic_write(directory / file) as part:
                shutil.copy(source / file, part)


def add_head(directory: Path, head: PublishedHead, about: Mapping[str, Any]) -> None:
    """Add a published head to the checkpoint in a directory; `about` says where the head comes from. Raises `BadModel`."""
    manifest, loaded = read_manifest(directory / MANIFEST), load(str(directory))
    heads = [*loaded.heads.heads.values(), head]
    MultiTaskHeads(loaded.weights.config, loaded.heads.sentence, heads)
    save_heads(directory / HEADS, heads)
    training = {**manifest["training"], "imported": [*manifest["training"].get("imported", []), dict(about)]}
    heads_sha256 = compute_sha256(directory / HEADS)
    write_manifest(directory, manifest | {"heads": describe_heads(heads), "heads_sha256": heads_sha256, "training": training})


def save_calibrated(directory: Path, reference: str, ranges: Mapping[str, Floats], difference: Mapping[str, Any]) -> None:
    """Write a copy of the model at `reference` with its calibration; `difference` says how far that is from fp32."""
    located = locate(reference)
    if (located.directory / MANIFEST).exists():
        if located.directory != directory.resolve():
            shutil.copytree(located.directory, directory, dirs_exist_ok=True)
    else:
        card, loaded = f"{located.name}, calibrated\n", load(reference)
        heads, is_embedder = list(loaded.heads.heads.values()), loaded.is_embedder
        save(
            directory, name=located.name, encoder_reference=reference, heads=heads, training={}, card=card, is_embedder=is_embedder
        )
    save_file({name: np.ascontiguousarray(sizes) for name, sizes in ranges.items()}, directory / INT8)
    manifest = read_manifest(directory / MANIFEST)
    write_manifest(directory, manifest | {"int8": {"sha256": compute_sha256(directory / INT8), "difference": dict(difference)}})

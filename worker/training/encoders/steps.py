"""Training of a whole encoder: split texts, plan and take steps, write a directory.

The directory has the layout of sentence-transformers, so that `run` serves it and `train` reads it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from worker.errors import BadModel, BadSettings
from worker.model.architectures import bert
from worker.model.checkpoint.checkpoint import build_encoder
from worker.model.checkpoint.tokenizer_files import TOKENIZER_FILES
from worker.model.encoder.encoder import published
from worker.model.encoder.packed_tensors import PackedTensors
from worker.model.pooling.pooling import SENTENCE_FILES
from worker.model.pooling.torch_pooling import pool, sentence_vectors
from worker.model.text.packing import pack
from worker.training.data.duplicates import build_key, split_words
from worker.training.learning.sampling import compute_rate_factor, split_by_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.encoder.encoder import Encoder
    from worker.model.pooling.pooling import PoolingConfig
    from worker.model.text.packing import Packed

# One text in 20 is held out, at most 1,000 and at least 3.
_HELD_OUT_OF, _MOST_HELD_OUT, _FEWEST_HELD_OUT = 20, 1000, 3
_TOKENS_PER_PASS = 8192
_STEPS_BETWEEN_LINES = 50
_LARGEST_GRADIENT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """Options of training; the same options and seed give the same encoder on the CPU of one machine."""

    epochs: int = 1
    #: Tokens per step, with special tokens; a longer text is a step of its own.
    max_batch_tokens: int = 2048
    #: The maximum number of steps; 0: no maximum.
    max_steps: int = 0
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    #: The share of steps in which the rate rises; then the rate falls to 0.
    warm_up: float = 0.1
    seed: int = 0


def split_texts(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return different training and held-out texts, none blank; texts with the same words are on the same side.

    The words of a text decide its side. Raises `BadSettings` for fewer than three held-out texts.
    """
    train: list[str] = []
    held_out: list[str] = []
    for text in dict.fromkeys(text for text in texts if text.strip()):
        digest = hashlib.sha256(build_key(split_words(text)).encode(errors="replace")).digest()
        (train if int.from_bytes(digest[:4]) % _HELD_OUT_OF else held_out).append(text)
    if len(held_out) < _FEWEST_HELD_OUT:
        raise BadSettings(f"{len(train) + len(held_out)} different texts are too few: give some hundred, best some ten thousand")
    return train, held_out[:_MOST_HELD_OUT]


def plan_steps(lengths: Sequence[int], options: StepOptions) -> list[NDArray[np.intp]]:
    """Return the indices of the texts of each step, in another order for each epoch; `lengths` are in tokens."""
    generator = np.random.default_rng(options.seed)
    steps: list[NDArray[np.intp]] = []
    for _ in range(options.epochs):
        order = generator.permutation(len(lengths))
        steps += [order[texts] for texts in split_by_tokens([lengths[text] for text in order], options.max_batch_tokens)]
    return steps[: options.max_steps or None]


def take_steps(
    steps: Sequence[NDArray[np.intp]],
    parameters: Sequence[torch.nn.Parameter],
    compute_loss: Callable[[NDArray[np.intp]], Tensor],
    options: StepOptions,
    progress: Callable[[str], None],
) -> None:
    """Take optimizer steps (AdamW) with a warm-up and a linear decay of the rate."""
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, partial(compute_rate_factor, num_steps=len(steps), warm_up=options.warm_up)
    )
    losses: list[float] = []
    for number, chosen in enumerate(steps, start=1):
        optimizer.zero_grad()
        loss = compute_loss(chosen)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        torch.nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if number % _STEPS_BETWEEN_LINES == 0 or number == len(steps):
            progress(f"step {number} of {len(steps)}, loss {np.mean(losses):.4f}")
            losses.clear()


def compute_states(encoder: Encoder, packed: Packed, layers: Iterable[int]) -> dict[int, Tensor]:
    """Return the states after some layers, `[T, H]` each, fp32, with gradients."""
    batch = PackedTensors.from_packed(packed, device=torch.device("cpu"), dtype=torch.float32)
    found: dict[int, Tensor] = encoder(batch, set(layers))
    return found


def compute_vectors(states: Tensor, packed: Packed, sentence: PoolingConfig) -> Tensor:
    """Return the sentence vectors `[n, H]` from the last states `[T, H]`."""
    return sentence_vectors(pool(states, torch.from_numpy(packed.cu_seqlens), sentence.pooling), sentence)


@torch.inference_mode()
def embed(encoder: Encoder, sentence: PoolingConfig, sequences: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
    """Return the sentence vector of each of some texts, `[n, H]`, in fp32."""
    last, found = encoder.config.num_hidden_layers, []
    for texts in split_by_tokens([len(ids) for ids in sequences], _TOKENS_PER_PASS):
        packed = pack(sequences[texts])
        found.append(compute_vectors(compute_states(encoder, packed, [last])[last], packed, sentence).numpy())
    vectors: NDArray[np.float32] = np.concatenate(found)
    return vectors


def check_output(output: Path, *, source: str, is_forced: bool) -> None:
    """Raise `BadSettings` for a directory that cannot be written, has content, or is the teacher `source`."""
    if output.resolve() == build_encoder(source).directory.resolve():
        raise BadSettings(f"{output}: that is what is learned from; name another directory")
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not is_forced)):
        raise BadSettings(f"{output}: there is something already; --force writes over it")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"{output}: {error.strerror}") from error


def check_family(encoder: Encoder, sentence: PoolingConfig, reference: str) -> None:
    """Raise `BadModel` for an encoder or a pooling that `write` does not write."""
    if sentence.dense or sentence.pooling not in ("mean", "cls"):
        raise BadModel(f"{reference}: only encoders with mean or CLS pooling and without a module Dense can be distilled")
    if encoder.config.family != "bert":
        raise BadModel(
            f"{reference}: a {encoder.config.family} encoder cannot be distilled, only a bert: train heads on it instead"
        )


def write(directory: Path, encoder: Encoder, *, base: Path, report: Mapping[str, Any], card: str) -> None:
    """Write a BERT with the tokenizer and the pooling of the directory `base`, and the figures `report` (`report.json`)."""
    config = json.loads((base / "config.json").read_text()) | bert.publish(encoder.config)
    try:
        (directory / "1_Pooling").mkdir(parents=True, exist_ok=True)
        for name in (name for name in (*TOKENIZER_FILES, *SENTENCE_FILES) if (base / name).exists()):
            shutil.copyfile(base / name, directory / name)
        for name, content in (("config.json", config), ("report.json", report)):
            (directory / name).write_text(json.dumps(content, indent=2) + "\n")
        (directory / "README.md").write_text(card)
        save_file(published(encoder), directory / "model.safetensors", {"format": "pt"})
    except OSError as error:
        raise BadSettings(f"{directory}: it could not be written: {error.strerror}") from error

"""Pretrain an encoder: random weights, the tokenizer of a base, one of two objectives, and what it is worth beside the base."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional

from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.encoder import Encoder, EncoderConfig
from worker.model.packing import pack
from worker.model.pooling import PoolingConfig
from worker.training.encoders import steps as encoders
from worker.training.encoders.agreement import Agreement, likeness
from worker.training.encoders.pretrain_objectives import Guess, contrast, masked, randomize, view
from worker.training.encoders.steps import StepOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.records import Tokens

Objective = Literal["masked-words", "contrast"]
#: By their names on the command line.
OBJECTIVES: dict[str, Objective] = {"masked-words": "masked-words", "contrast": "contrast"}
_SENTENCE = PoolingConfig(pooling="mean", is_normalized=True, max_tokens=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainOptions:
    """The shape of an encoder, and how it learns."""

    #: The model whose tokenizer is taken, and beside which the vectors are measured.
    base: str
    output: Path
    objective: Objective = "masked-words"
    num_layers: int = 2
    hidden_size: int = 128
    #: Heads of 32 or 64 numbers run in the fastest kernels.
    num_attention_heads: int = 4
    max_tokens: int = 128
    steps: StepOptions = field(default_factory=lambda: StepOptions(learning_rate=1e-3, max_batch_tokens=4096))


@dataclass(frozen=True, slots=True)
class PretrainReport:
    """What an encoder has learned; losses and likenesses are on held-out texts, likenesses against the base."""

    num_parameters: int
    num_texts: int
    num_held_out: int
    loss_before: float
    loss_after: float
    before: Agreement
    after: Agreement


def pretrain(options: PretrainOptions, texts: Sequence[str], progress: Callable[[str], None]) -> PretrainReport:
    """Train an encoder from random weights on unlabelled texts and write it; raises `BadSettings` and `BadModel`."""
    directory = checkpoint.build_encoder(options.base).directory
    loaded = checkpoint.load(str(directory), max_tokens=options.max_tokens)
    train, held_out = (loaded.tokenizer.encode(its) for its in encoders.divided(texts))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.steps.seed)
        learner = _Learner(_encoder(options, loaded.encoder.config), options, loaded.tokenizer.find_token_id("[MASK]"))
    held_out_ids = [it.ids for it in held_out]
    target = encoders.embedded(loaded.encoder, loaded.heads.sentence, held_out_ids)
    before, loss_before = likeness(target, encoders.embedded(learner.encoder, _SENTENCE, held_out_ids)), learner.mean_loss(held_out)
    progress(f"{len(train)} texts, {len(held_out)} held out; loss {loss_before:.4f}")
    generator = np.random.default_rng(options.steps.seed)
    encoders.take(
        encoders.planned([len(it) for it in train], options.steps),
        list(learner.parameters()),
        lambda chosen: learner.loss([train[it] for it in chosen], generator),
        options.steps,
        progress,
    )
    report = PretrainReport(
        num_parameters=sum(it.numel() for it in learner.encoder.parameters()),
        num_texts=len(train),
        num_held_out=len(held_out),
        loss_before=loss_before,
        loss_after=learner.mean_loss(held_out),
        before=before,
        after=likeness(target, encoders.embedded(learner.encoder, _SENTENCE, held_out_ids)),
    )
    details: dict[str, Any] = {"base": options.base, "objective": options.objective, "options": asdict(options.steps)}
    encoders.write(
        *(options.output, learner.encoder),
        base=directory,
        sentence=replace(_SENTENCE, do_lower_case=loaded.heads.sentence.do_lower_case),
        max_tokens=options.max_tokens,
        report=details | asdict(report),
        card=_card(options, report),
    )
    return report


class _Learner(torch.nn.Module):
    """An encoder, and what its objective needs beside it."""

    def __init__(self, encoder: Encoder, options: PretrainOptions, mask: int | None) -> None:
        super().__init__()
        if options.objective == "masked-words" and mask is None:
            raise BadModel(f"{options.base}: its tokenizer has no token [MASK]; the objective `contrast` needs none")
        self.encoder = encoder
        self._mask = mask
        self._guess = None if options.objective == "contrast" else Guess(encoder.words)

    def loss(self, texts: Sequence[Tokens], generator: np.random.Generator) -> Tensor:
        """Return the mean loss of some texts, views and masks drawn anew."""
        if self._guess is None:
            vectors = [self._vectors([view(it.ids, it.words < 0, generator) for it in texts]) for _ in range(2)]
            return contrast(*vectors)
        vocab_size, mask = self.encoder.config.vocab_size, self._mask or 0
        hidden = [masked(it.ids, it.words < 0, mask=mask, vocab_size=vocab_size, generator=generator) for it in texts]
        packed = pack([it.shown for it in hidden])
        last = self.encoder.config.num_hidden_layers
        places = np.concatenate([start + it.places for start, it in zip(packed.cu_seqlens.tolist(), hidden, strict=False)])
        guesses = self._guess(encoders.compute_states(self.encoder, packed, [last])[last][torch.from_numpy(places)])
        return functional.cross_entropy(guesses, torch.from_numpy(np.concatenate([it.hidden for it in hidden]).astype(np.int64)))

    @torch.no_grad()
    def mean_loss(self, texts: Sequence[Tokens], *, batch_texts: int = 64) -> float:
        """Return the mean loss of held-out texts; the same masks and views each time."""
        generator = np.random.default_rng(0)
        chunks = [texts[it : it + batch_texts] for it in range(0, len(texts), batch_texts)]
        return sum(float(self.loss(it, generator)) * len(it) for it in chunks) / len(texts)

    def _vectors(self, sequences: Sequence[NDArray[np.int32]]) -> Tensor:
        packed, last = pack(sequences), self.encoder.config.num_hidden_layers
        return encoders.compute_vectors(encoders.compute_states(self.encoder, packed, [last])[last], packed, _SENTENCE)


def _encoder(options: PretrainOptions, base: EncoderConfig) -> Encoder:
    if options.hidden_size % options.num_attention_heads:
        raise BadSettings(f"{options.hidden_size} dimensions do not divide into {options.num_attention_heads} heads")
    config = EncoderConfig(
        vocab_size=base.vocab_size,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_layers,
        num_attention_heads=options.num_attention_heads,
        intermediate_size=4 * options.hidden_size,
        max_position_embeddings=options.max_tokens,
    )
    encoder = Encoder(config)
    randomize(encoder)
    return encoder


def _card(options: PretrainOptions, report: PretrainReport) -> str:
    return f"""# {options.output.name}

An encoder of {options.num_layers} layers and {options.hidden_size} dimensions ({report.num_parameters:,} parameters), trained from
random weights by `gist-stream pretrain` on {report.num_texts} unlabelled texts, by {options.objective}. The tokenizer is that of
`{options.base}`. It has no heads; `gist-stream train --encoder` makes some.

On {report.num_held_out} held-out texts the loss is {report.loss_after:.3f} ({report.loss_before:.3f} at random), and the
similarities of pairs have a rank correlation of {report.after.spearman:.3f} with those of the base ({report.before.spearman:.3f} at
random). It knows nothing but these texts: take a published encoder where you can. `report.json` has all figures.
"""

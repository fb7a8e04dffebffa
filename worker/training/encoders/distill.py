"""Distil a student: copy layers of the teacher, train on unlabelled texts, write the student, and measure both."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from worker.errors import BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.encoder.encoder import Encoder
from worker.model.encoder.quantization import predictions
from worker.model.engine import Engine
from worker.model.text.packing import pack
from worker.training.encoders import steps as encoders
from worker.training.encoders.steps import StepOptions
from worker.training.evaluation.vectors import compare_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.pooling.pooling import PoolingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    """Teacher and student."""

    teacher: str
    output: Path
    #: The teacher's layers that the student copies, 1 for the first. Empty: every second layer, with the last.
    layers: tuple[int, ...] = ()
    #: The weight of the token states relative to the sentence vectors.
    token_weight: float = 0.5
    steps: StepOptions = field(default_factory=StepOptions)


@dataclass(frozen=True, slots=True)
class DistillReport:
    """A student compared with its teacher."""

    layers: tuple[int, ...]
    num_texts: int
    num_held_out: int
    #: Agreement with the teacher on held-out texts, before and after training.
    before: Agreement
    after: Agreement
    #: Texts per second with tokenization, measured in turn on the same texts.
    teacher_texts_per_s: float
    student_texts_per_s: float
    #: Data type and backend of the throughput.
    runs_on: str


def distill(options: DistillOptions, texts: Sequence[str], progress: Callable[[str], None]) -> DistillReport:
    """Train a student on unlabelled texts and write it to `output`; raises `BadSettings` and `BadModel`."""
    directory = checkpoint.build_encoder(options.teacher).directory
    loaded = checkpoint.load(str(directory))
    teacher, sentence = loaded.encoder.requires_grad_(requires_grad=False), loaded.heads.sentence
    encoders.check_family(teacher, sentence, options.teacher)
    num_layers = teacher.config.num_hidden_layers
    layers = options.layers or spread_layers(num_layers, max(1, num_layers // 2))
    student = build_student(teacher, layers)
    train, held_out = encoders.split_texts(texts)
    ids = [tokens.ids for tokens in loaded.tokenizer.encode(train)]
    held_out_ids = [tokens.ids for tokens in loaded.tokenizer.encode(held_out)]
    target = encoders.embed(teacher, sentence, held_out_ids)
    before = measure_agreement(target, encoders.embed(student, sentence, held_out_ids))
    progress(f"{len(train)} texts, {len(held_out)} held out; the layers {layers} alone: Spearman {before.spearman:.4f}")
    _train(teacher, student, sentence, ids, options, progress)
    after = measure_agreement(target, encoders.embed(student, sentence, held_out_ids))
    details: dict[str, Any] = {"teacher": options.teacher, "layers": layers, "options": asdict(options.steps)}
    write = partial(encoders.write, options.output, student, base=directory)
    # The throughput is that of the written directory.
    write(report=details, card="")
    engines = {"teacher": Engine.load(str(directory)), "student": Engine.load(str(options.output))}
    speeds = measure_throughput(engines, held_out)
    report = DistillReport(
        layers=layers,
        num_texts=len(train),
        num_held_out=len(held_out),
        before=before,
        after=after,
        teacher_texts_per_s=speeds["teacher"],
        student_texts_per_s=speeds["student"],
        runs_on=engines["student"].description,
    )
    write(report=details | asdict(report), card=_card(options, report))
    return report


def _train(
    teacher: Encoder,
    student: Encoder,
    sentence: PoolingConfig,
    ids: Sequence[NDArray[np.int32]],
    options: DistillOptions,
    progress: Callable[[str], None],
) -> None:
    lasts = (student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    # The embeddings are the teacher's, and most of the parameters.
    for table in (student.words, student.positions, student.types):
        if table is not None:
            table.requires_grad_(requires_grad=False)

    def compute_loss(chosen: NDArray[np.intp]) -> Tensor:
        packed = pack([ids[number] for number in chosen])
        own = encoders.compute_states(student, packed, [lasts[0]])[lasts[0]]
        with torch.no_grad():
            target = encoders.compute_states(teacher, packed, [lasts[1]])[lasts[1]]
            wanted = encoders.compute_vectors(target, packed, sentence)
        return loss((encoders.compute_vectors(own, packed, sentence), wanted), (own, target), token_weight=options.token_weight)

    steps = encoders.plan_steps([len(id_) for id_ in ids], options.steps)
    encoders.take_steps(
        steps, [parameter for parameter in student.parameters() if parameter.requires_grad], compute_loss, options.steps, progress
    )


def _card(options: DistillOptions, report: DistillReport) -> str:
    return f"""# {options.output.name}

A student of `{options.teacher}`, made by `gist-stream distill`: its layers {", ".join(map(str, report.layers))}, trained on
{report.num_texts} unlabelled texts. It has no heads; `gist-stream train --encoder` makes some.

On {report.num_held_out} held-out texts its vectors have a mean cosine of {_shown(report.after)} with the teacher's
({_shown(report.before)} before training), and the similarities of pairs a rank correlation of {report.after.spearman:.4f}
({report.before.spearman:.4f}). It embeds {report.student_texts_per_s:.0f} texts a second where the teacher embeds
{report.teacher_texts_per_s:.0f} ({report.runs_on}). `report.json` has all figures.
"""


def _shown(agreement: Agreement) -> str:
    return "-" if agreement.mean_cosine is None else f"{agreement.mean_cosine:.4f}"


def build_student(teacher: Encoder, layers: tuple[int, ...]) -> Encoder:
    """Return an encoder with copies of some of the teacher's layers; 1 is the first (Sanh et al., "DistilBERT", 2019).

    Raises `BadSettings` for layers that the teacher does not have, and for all of its layers.
    """
    num_layers = teacher.config.num_hidden_layers
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 1 or layers[-1] > num_layers or len(layers) == num_layers:
        raise BadSettings(f"a student has fewer layers than its teacher, in order, from 1 to {num_layers}: not {layers}")
    student = Encoder(replace(teacher.config, num_hidden_layers=len(layers)))
    kept = {f"layers.{layer - 1}.": f"layers.{number}." for number, layer in enumerate(layers)}
    state = {name: value.clone() for name, value in teacher.state_dict().items() if not name.startswith("layers.")}
    for name, value in teacher.state_dict().items():
        for theirs, ours in kept.items():
            if name.startswith(theirs):
                state[ours + name.removeprefix(theirs)] = value.clone()
    student.load_state_dict(state)
    return student


def spread_layers(num_teacher: int, num_student: int) -> tuple[int, ...]:
    """Return evenly spread layers of the teacher, with the last."""
    return tuple((number + 1) * num_teacher // num_student for number in range(num_student))


def loss(vectors: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor], *, token_weight: float) -> Tensor:
    """Return the loss; the first of each pair is the student's.

    The loss of vectors, `[n, H]`, is one minus their cosine (Reimers and Gurevych, 2020). The loss of states, `[T, H]`, is their
    mean squared difference divided by the teacher's mean square (Jiao et al., "TinyBERT", 2020).
    """
    vector_loss = 1 - functional.cosine_similarity(*vectors, dim=1).mean()
    state_loss = (states[0] - states[1]).square().mean() / states[1].square().mean()
    return vector_loss + token_weight * state_loss


_NUM_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of the vectors of two encoders on the same texts."""

    #: Mean and 1st percentile of the cosine of a text's two vectors; None for vectors of different widths.
    mean_cosine: float | None
    p01_cosine: float | None
    #: Spearman's correlation of the similarities of all pairs, with its 95 % interval.
    spearman: float
    spearman_low: float
    spearman_high: float
    #: The share of common neighbours among the ten nearest; None for ten texts or fewer.
    top_10_overlap: float | None


def measure_agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> Agreement:
    """Compare vectors `[n, H]` of `n` > 2 texts; the widths may differ."""
    figures = compare_vectors(one, other)
    cosines = None
    if one.shape == other.shape:
        sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / np.maximum(sizes, np.finfo(np.float32).tiny)
    spearman, top = figures["Spearman"], figures.get("top-10 overlap")
    return Agreement(
        mean_cosine=None if cosines is None else float(cosines.mean()),
        p01_cosine=None if cosines is None else float(np.quantile(cosines, 0.01)),
        spearman=spearman.value,
        # Equal orders of all pairs have no spread, and so no interval.
        spearman_low=float(np.fmin(spearman.low, spearman.value)),
        spearman_high=float(np.fmax(spearman.high, spearman.value)),
        top_10_overlap=top.value if top else None,
    )


def measure_throughput(engines: Mapping[str, Engine], texts: Sequence[str]) -> dict[str, float]:
    """Return the texts per second that each engine tokenizes and embeds: the median of alternating rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        predictions(engine, texts)
    for _ in range(_NUM_ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            predictions(engine, texts)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(texts) / median(own_seconds) for name, own_seconds in seconds.items()}

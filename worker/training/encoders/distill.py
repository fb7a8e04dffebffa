"""Distil a student: copy layers of the teacher, train on unlabelled texts, write the student, and measure both."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.model.packing import pack
from worker.training.encoders import steps as encoders
from worker.training.encoders.agreement import Agreement, measure_agreement, measure_throughput
from worker.training.encoders.distill_loss import build_student, loss, spread_layers
from worker.training.encoders.steps import StepOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from worker.model.encoder import Encoder
    from worker.model.pooling import PoolingConfig


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
    write = partial(encoders.write, options.output, student, base=directory, sentence=sentence, max_tokens=loaded.max_tokens)
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

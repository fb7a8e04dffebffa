"""The benchmarks of the model alone: `bench engine` and `bench profile`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from worker.bench.engine import plan, run
from worker.bench.engine.candidates.gist_engine import calibrate
from worker.bench.engine.plan import GIST_MODEL, MINILM
from worker.bench.engine.profile import STAGES, profile_model
from worker.bench.engine.report import build_report
from worker.bench.engine.workload import mixture, write_gist_shaped
from worker.bench.frame.context import ENGINE_BATCH_TOKENS
from worker.bench.frame.machine import describe_machine
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Runs, Table
from worker.commands.bench import flags
from worker.errors import BadModel, BadSettings
from worker.host import count_cores
from worker.model.backends.native.build import BackendUnavailable
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import locate
from worker.model.encoder.quantization import passes
from worker.settings import DEFAULT_MODEL, Settings
from worker.training.config import DEFAULT_ENCODER
from worker.training.data.corpora import rated_sentences

if TYPE_CHECKING:
    from worker.bench.frame.report import ReportOutputs


@flags.write_report
def engine(
    *,
    quick: flags.Quick = False,
    threads: Annotated[int, typer.Option(min=0, help="Threads of each candidate. 0: one for each core of the process.")] = 0,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Device of all candidates. auto: a GPU if there is one.")
    ] = "auto",
    cache: flags.Cache = Path(".data"),
    outputs: ReportOutputs,
) -> None:
    """Measure the engine, the usual libraries and the bare matrix products of each arithmetic in turn, on the same texts."""
    progress, gpu = Console(stderr=True, highlight=False, style="dim"), "" if device == "cpu" else run.find_gpu()
    if device == "cuda" and not gpu:
        raise BadSettings("--device cuda: PyTorch finds no GPU")
    bounds = ("max_batch_records", "resume_in_flight_tokens", "max_poll_records")
    results = run.run(
        plan.build_plan(is_quick=quick, is_gpu=bool(gpu)),
        threads=threads or count_cores(),
        gpu=gpu,
        batching={name: Settings.model_fields[name].default for name in bounds} | {"max_batch_tokens": ENGINE_BATCH_TOKENS},
        checkpoint=DEFAULT_MODEL,
        texts=_read_texts(cache, progress),
        say=progress.print,
    )
    outputs.write(build_report(results), flags.build_console())


@flags.write_report
def profile(
    *,
    threads: Annotated[int, typer.Option(min=0, help="Threads. 0: one for each core of the process.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Number of texts.")] = 2048,
    outputs: ReportOutputs,
) -> None:
    """Show the share of each operation in a forward pass: matrix products, attention, norms, heads, the rest."""
    published, runs = locate(DEFAULT_ENCODER).directory, Runs()
    texts = mixture(published / "tokenizer.json", count).texts
    with TemporaryDirectory(prefix="gist-profile-") as name:
        gist = Path(name) / "gist-shaped"
        write_gist_shaped(gist, published)
        for title, reference in ((GIST_MODEL, str(gist)), (f"{MINILM}, with its heads", DEFAULT_MODEL)):
            loaded = calibrate(replace(checkpoint.load(reference), ranges=None), texts)
            packs = list(passes(loaded.tokenizer.encode(texts)))
            try:
                profile_model(title, loaded, packs, runs, threads=threads or count_cores())
            except BackendUnavailable as error:
                raise BadModel(f"only the native engine can be profiled: {error}") from error
    table = Table(title="Share of a forward pass in %", runs=runs, columns=tuple(Column(stage, stage, 1) for stage in STAGES))
    claim = f"products take {runs.median(runs.names[0], 'products'):.0f} % of a forward pass ({runs.names[0]})"
    summary = {name: runs.median(name, "products") for name in runs.names}
    report = Report(title="Profile", claim=claim, machine=describe_machine(), tables=[table], summary=summary)
    outputs.write(report, flags.build_console())


def _read_texts(cache: Path, progress: Console) -> list[str]:
    """Return the real corpus, or nothing and a message if it cannot be fetched."""
    try:
        return [sentence.text for sentence in rated_sentences(cache)]
    except BadSettings as error:
        progress.print(f"without the real corpus: {error}", style="yellow", markup=False)
        return []

"""The order of a run: start the candidates one after the other, then ask each in turn, round by round."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.bench.engine import plan as plans
from worker.bench.engine.job import Job
from worker.bench.engine.measures import CorpusResults, Entry, Sample
from worker.bench.engine.process import Candidate, CandidateFailed, CandidateUnavailable
from worker.bench.engine.workload import REAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from worker.bench.engine.job import Batching
    from worker.bench.engine.plan import EnginePlan, Spec

# Texts of the first question, which measures the speed of a candidate.
_NUM_FIRST = 64
_NUM_FOR_HEADS = 512
# The threads of the previous candidate spin for a moment before they sleep.
_SETTLE_S = 0.03
CAPTIONS = {
    True: "Tokenizing is included; GIST Stream tokenizes in a thread of its own, as the worker does.",
    False: "Tokenizing is excluded, except for SentenceTransformers, whose `encode` always tokenizes.",
}


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A corpus on disk."""

    path: Path
    num_texts: int
    is_tokenizing: bool
    #: Mean tokens of a text, special tokens included.
    mean_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The plan, the machine, the models and the corpora of a run."""

    plan: EnginePlan
    threads: int
    device: str
    batching: Batching
    #: For each model the reference for GIST Stream and the published directory for baselines.
    models: Mapping[str, tuple[str, str]]
    corpora: Mapping[str, CorpusFile]
    #: An empty cache directory for compiled kernels.
    cache: Path
    #: Start of the run, on the monotonic clock.
    started_s: float
    say: Callable[[str], None]

    @property
    def timeout_s(self) -> float:
        """The time limit of the next answer."""
        return max(0.0, min(self.plan.timeout_s, self.started_s + self.plan.limit_s - time.monotonic()))

    def end_of_rounds(self, model: str, corpus: str) -> float:
        """Return when the last round of a corpus may begin: the remaining time is divided among the remaining corpora."""
        pairs = [(model, corpus) for model, corpora in self.plan.corpora.items() for corpus in corpora if corpus in self.corpora]
        num_left = len(pairs) - pairs.index((model, corpus))
        return plans.divide_time(time.monotonic(), self.started_s + self.plan.rounds_s, num_left)

    def start(self, spec: Spec, model: str, corpora: Sequence[str]) -> Candidate:
        """Start a candidate; the whole run has a cache of its own, the quick run uses the machine's."""
        reference, published = self.models[model]
        job = Job(
            role=spec.role,
            model=published if spec.kind in ("baseline", "roofline") else reference,
            encoder=published,
            corpora={name: str(self.corpora[name].path) for name in corpora},
            threads=self.threads,
            device=self.device,
            batching=self.batching,
            backend=spec.backend,
            dtype=spec.dtype,
            batch_size=spec.batch_size,
            is_sorted=spec.is_sorted,
        )
        environment = {} if self.plan.is_quick else {"GIST_CACHE_DIR": str(self.cache)}
        return Candidate(job, environment=environment, timeout_s=self.timeout_s)


@dataclass(slots=True)
class _Running:
    """A candidate that is ready."""

    spec: Spec
    process: Candidate
    about: dict[str, Any]
    warm_start_s: float
    is_chosen: bool = False
    cold_start_s: float | None = None
    #: The reason of its end; empty while it runs.
    failure: str = ""


def run_model(setup: Setup, model: str) -> tuple[list[CorpusResults], dict[str, float]]:
    """Run all candidates on one model; return a panel for each corpus, and the cost of the heads (empty if not measured)."""
    corpora = [corpus for corpus in setup.plan.corpora[model] if corpus in setup.corpora]
    with ExitStack() as stack:
        running, missing = _start_all(setup, model, corpora, stack)
        panels = [_run_corpus(setup, model, corpus, running, missing) for corpus in corpora]
        heads: dict[str, float] = {}
        chosen = next((candidate for candidate in running if candidate.is_chosen and not candidate.failure), None)
        if chosen and model == plans.MINILM and REAL in corpora:
            heads = _measure_heads(setup, chosen)
        return panels, heads


def _measure_heads(setup: Setup, chosen: _Running) -> dict[str, float]:
    setup.say("measuring the cost of the heads")
    chosen.process.timeout_s = setup.timeout_s
    try:
        return chosen.process.ask("heads", corpus=REAL, num_texts=_NUM_FOR_HEADS)
    except CandidateFailed as error:
        setup.say(f"the cost of the heads is unknown: {error}")
        return {}


def compare_outputs(setup: Setup, backends: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the differences of backends from fp32 on real texts with MiniLM.

    Raises `CandidateUnavailable` and `CandidateFailed`.
    """
    setup.say("comparing with fp32")
    spec = plans.Spec(name="comparison", role="compare_outputs", kind="comparison")
    with setup.start(spec, plans.MINILM, [REAL]) as process:
        process.ready()
        process.timeout_s = setup.timeout_s
        return process.ask("compare", corpus=REAL, num_texts=setup.plan.num_compared, backends=list(backends))


def _start_all(setup: Setup, model: str, corpora: Sequence[str], stack: ExitStack) -> tuple[list[_Running], list[Entry]]:
    """Start GIST Stream first, which names its backends, then the others; return running candidates and missing entries."""
    running: list[_Running] = []
    missing: list[Entry] = []

    def start(spec: Spec) -> _Running | None:
        setup.say(f"{model}: starting {spec.name}")
        process = stack.enter_context(setup.start(spec, model, corpora))
        try:
            started = _Running(spec, process, *process.ready())
        except (CandidateUnavailable, CandidateFailed) as error:
            process.close()
            word = "unavailable" if isinstance(error, CandidateUnavailable) else "failed"
            missing.append(Entry(name=spec.name, kind=spec.kind, missing=f"{word}: {error}"))
            return None
        running.append(started)
        return started

    chosen = start(plans.build_backend("auto"))
    if chosen:
        _start_backends(setup, chosen, running, start)
    dtype = "bfloat16" if not chosen or "bfloat16" in chosen.about["about"] else "float32"
    for spec in (*setup.plan.baselines, plans.build_roofline(dtype)):
        start(spec)
    return running, missing


def _start_backends(setup: Setup, chosen: _Running, running: list[_Running], start: Callable[[Spec], _Running | None]) -> None:
    """Start each backend. The whole run ends the first process, whose start was the cold one; the quick run keeps it."""
    backend = chosen.about["chosen"]
    if setup.plan.is_quick:
        chosen.spec, chosen.is_chosen = plans.build_backend(backend), True
        if backend != "int8":
            start(plans.build_backend("int8"))
        return
    running.remove(chosen)
    chosen.process.close()
    for name in chosen.about["backends"]:
        if (started := start(plans.build_backend(name))) and name == backend:
            started.is_chosen, started.cold_start_s = True, chosen.warm_start_s


def _run_corpus(setup: Setup, model: str, corpus: str, running: Sequence[_Running], missing: Sequence[Entry]) -> CorpusResults:
    """Ask all candidates in turn; two warm-up rounds find the number of texts of each, and do not count."""
    file, plan = setup.corpora[corpus], setup.plan
    samples: dict[str, list[Sample]] = {candidate.spec.name: [] for candidate in running}
    sizes: dict[str, int] = {}
    until_s, started_s = setup.end_of_rounds(model, corpus), 0.0
    for number in range(-2, plan.num_rounds):
        last_s, started_s = time.monotonic() - started_s, time.monotonic()
        if number > 0 and started_s + last_s > until_s:
            break
        if number == -1 and started_s > until_s:
            continue
        setup.say(f"{model}, {corpus}: {f'round {number + 1} of {plan.num_rounds}' if number >= 0 else 'warm-up'}")
        for candidate in running:
            name, batch_size = candidate.spec.name, candidate.spec.batch_size
            size = sizes.get(name, min(_NUM_FIRST, file.num_texts))
            candidate.process.timeout_s = setup.timeout_s
            if not (sample := _measure(candidate, corpus, number * size, size)):
                continue
            if number >= 0:
                samples[name].append(sample)
                continue
            each_s, most = sample.seconds / sample.num_messages, file.num_texts * plan.max_turns
            sizes[name] = plans.fit_texts(each_s, plan.box_s, num_texts=most, batch_size=batch_size)
    return CorpusResults(
        model=model,
        corpus=corpus,
        num_messages=file.num_texts,
        mean_tokens=file.mean_tokens,
        caption=CAPTIONS[file.is_tokenizing],
        entries=[*(_build_entry(candidate, samples[candidate.spec.name]) for candidate in running), *missing],
    )


def _measure(candidate: _Running, corpus: str, first: int, num_messages: int) -> Sample | None:
    """Return one sample; a candidate that fails keeps the reason and is not asked again."""
    if candidate.failure:
        return None
    time.sleep(_SETTLE_S)
    try:
        return Sample(**candidate.process.ask("measure", corpus=corpus, first=max(0, first), num_messages=num_messages))
    except CandidateFailed as error:
        candidate.failure = f"failed: {error}"
        return None


def _build_entry(candidate: _Running, samples: list[Sample]) -> Entry:
    return Entry(
        name=candidate.spec.name,
        kind=candidate.spec.kind,
        about=candidate.about["about"],
        missing=candidate.failure,
        is_chosen=candidate.is_chosen,
        warm_start_s=candidate.warm_start_s,
        cold_start_s=candidate.cold_start_s,
        peak_bytes=candidate.process.peak_bytes,
        samples=samples,
    )

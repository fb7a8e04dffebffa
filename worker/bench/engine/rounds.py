"""The order of a run: start the candidates one after the other, then ask each in turn, round by round."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.bench.engine.job import Sample
from worker.bench.engine.plan import fit_texts
from worker.bench.frame.process import Candidate, CandidateFailed, CandidateUnavailable
from worker.bench.frame.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.bench.engine.plan import EnginePlan, Spec

# Texts of the first question, which measures the speed of a candidate.
_NUM_FIRST = 64
# The threads of the previous candidate spin for a moment before they sleep.
_SETTLE_S = 0.03
#: Sizes of the batches whose processor time per text is compared.
BATCH_SIZES = (5, 160)


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
    batching: Mapping[str, int]
    #: For each model the reference for GIST Stream and the published directory for baselines.
    models: Mapping[str, tuple[str, str]]
    corpora: Mapping[str, CorpusFile]
    #: Variables of the candidates' environment.
    environment: Mapping[str, str]
    #: When the last round of the run may begin, on the monotonic clock.
    until_s: float
    say: Callable[[str], None]

    def start(self, spec: Spec, model: str, corpus: str) -> Candidate:
        """Start a candidate."""
        reference, published = self.models[model]
        options = {
            "model": reference if spec.kind == "gist" else published,
            "corpus": str(self.corpora[corpus].path),
            "threads": self.threads,
            "device": self.device,
            "batching": dict(self.batching),
            **spec.options,
        }
        return Candidate(spec.role, options, threads=self.threads, timeout_s=self.plan.timeout_s, environment=self.environment)


@dataclass(slots=True)
class Entry:
    """A candidate on one model and one corpus."""

    name: str
    spec: Spec
    process: Candidate
    about: dict[str, Any]
    #: Seconds from the start of the process to its first vectors.
    start_s: float
    #: More arguments of each question.
    arguments: dict[str, str] = field(default_factory=dict)
    has_failed: bool = False


@dataclass(slots=True)
class Panel:
    """All candidates on one model and one corpus."""

    model: str
    corpus: CorpusFile
    entries: list[Entry] = field(default_factory=list)
    runs: Runs = field(default_factory=Runs)
    #: Candidates without figures, with the reason.
    missing: list[str] = field(default_factory=list)
    #: Processor milliseconds per text of `auto`, by batch size.
    processor_ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def build_empty(cls) -> Panel:
        """Return a panel without candidates."""
        return cls("", CorpusFile(Path(), 0, is_tokenizing=False, mean_tokens=math.nan))

    def find(self, *kinds: str) -> list[Entry]:
        """Return the measured candidates of some kinds, the fastest first."""
        found = [entry for entry in self.entries if entry.spec.kind in kinds and entry.name in self.runs.names]
        return sorted(found, key=lambda entry: -self.runs.median(entry.name, "texts_per_s"))

    def find_engine(self, dtype: str) -> Entry | None:
        """Return the engine in a number format, or `auto`; None without figures."""
        return next((entry for entry in self.find("gist") if entry.spec.options["dtype"] == dtype), None)

    def compare(self, one: Entry | None, other: Entry | None) -> float:
        """Return the ratio of the throughputs of two candidates; NaN without one of the two."""
        return self.runs.ratio(one.name, other.name, "texts_per_s") if one and other else math.nan


def run_panel(setup: Setup, model: str, corpus: str, *, num_after: int) -> Panel:
    """Run all candidates on one model and one corpus; `num_after` further panels share the remaining time."""
    panel = Panel(model, setup.corpora[corpus])
    with ExitStack() as stack:
        for spec in setup.plan.candidates:
            _start(setup, spec, panel, corpus, stack)
        left_s = max(0.0, setup.until_s - time.monotonic())
        _measure_rounds(setup, panel, time.monotonic() + left_s / (num_after + 1))
        for entry in panel.entries:
            if not entry.has_failed and entry.spec.options.get("dtype") == "auto" and setup.device == "cpu":
                setup.say(f"{model}: processor time per text")
                panel.processor_ms = _ask(entry, panel, "processor_ms", sizes=BATCH_SIZES) or {}
    return panel


def _start(setup: Setup, spec: Spec, panel: Panel, corpus: str, stack: ExitStack) -> None:
    """Start a candidate and wait until it is ready; a process that measures several ways is several entries."""
    setup.say(f"{panel.model}: starting {spec.title}")
    process = stack.enter_context(setup.start(spec, panel.model, corpus))
    try:
        about, start_s = process.ready()
    except (CandidateUnavailable, CandidateFailed) as error:
        process.close()
        panel.missing.append(f"{spec.title}: {error}")
        return
    name = spec.name.format(dtype=about.get("dtype", ""))
    if spec.options.get("dtype") == "auto":
        name = f"{name} ({about['dtype']})"
    if "ways" not in about:
        panel.entries.append(Entry(name, spec, process, about, start_s))
    for way in about.get("ways", ()):
        panel.entries.append(Entry(f"{name}, {way}", spec, process, about, start_s, {"way": way}))


def _measure_rounds(setup: Setup, panel: Panel, until_s: float) -> None:
    """Ask all candidates in turn; two warm-up rounds find the number of texts of each, and do not count."""
    plan, num_texts = setup.plan, panel.corpus.num_texts
    sizes: dict[str, int] = {}
    started_s = 0.0
    for number in range(-2, plan.num_rounds):
        last_s, started_s = time.monotonic() - started_s, time.monotonic()
        if number > 0 and started_s + last_s > until_s:
            break
        setup.say(f"{panel.model}: {f'round {number + 1} of {plan.num_rounds}' if number >= 0 else 'warm-up'}")
        for entry in panel.entries:
            size = sizes.get(entry.name, min(_NUM_FIRST, num_texts))
            first = max(0, number * size)
            time.sleep(_SETTLE_S)
            answer = _ask(entry, panel, "measure", first=first, num_messages=size, **entry.arguments)
            if answer is None:
                continue
            sample = Sample(**answer)
            if number < 0:
                most = num_texts * plan.max_turns
                each_s = sample.seconds / sample.num_messages
                sizes[entry.name] = fit_texts(each_s, plan.box_s, num_texts=most, batch_size=entry.spec.batch_size)
            else:
                panel.runs.add(entry.name, **_compute_figures(entry, sample, panel.corpus.mean_tokens))


def _compute_figures(entry: Entry, sample: Sample, mean_tokens: float) -> dict[str, float]:
    """Return the figures of a sample; texts are computed from tokens, because candidates take different parts of the corpus."""
    tokens_per_s = sample.num_tokens / sample.seconds
    figures = {"texts_per_s": tokens_per_s / mean_tokens, "tokens_per_s": tokens_per_s}
    if entry.spec.kind == "products":
        return figures
    peak_mib = (entry.process.peak_bytes or 0) / (1 << 20)
    return figures | {"fill": sample.num_tokens / sample.num_rows, "peak_mib": peak_mib, "start_s": entry.start_s}


def _ask(entry: Entry, panel: Panel, question: str, **arguments: Any) -> dict[str, Any] | None:
    """Return an answer; a candidate that fails is listed with the reason and is not asked again."""
    if entry.has_failed:
        return None
    try:
        return entry.process.ask(question, **arguments)
    except CandidateFailed as error:
        entry.has_failed = True
        panel.missing.append(f"{entry.name}: {error}")
        return None

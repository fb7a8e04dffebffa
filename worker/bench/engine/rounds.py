"""The order of a run: start everybody, one after the other, then ask each in turn, round by round."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.bench.engine import plan as plans
from worker.bench.engine.job import Job
from worker.bench.engine.measures import Entry, Panel, Sample
from worker.bench.engine.process import Absent, Candidate, Died
from worker.bench.engine.workload import REAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from worker.bench.engine.job import Batching
    from worker.bench.engine.plan import EnginePlan, Spec

# Enough to tell how fast a contestant is.
_NUM_FIRST = 64
_NUM_FOR_HEADS = 512
# The threads of who answered last spin a while before they sleep.
_SETTLE_S = 0.03
CAPTIONS = {
    True: "tokenizing included for everybody; ours tokenizes in a thread beside the pass, as the worker does",
    False: "tokenizing excluded, but for SentenceTransformers, whose `encode` always does it",
}


@dataclass(frozen=True, slots=True)
class Written:
    """A corpus as the contestants find it."""

    path: Path
    num_texts: int
    is_tokenizing: bool
    #: Tokens of a text, special tokens included.
    mean_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a run takes place."""

    plan: EnginePlan
    threads: int
    device: str
    batching: Batching
    #: For each shape the reference of ours, and the published directory that the others load.
    models: Mapping[str, tuple[str, str]]
    corpora: Mapping[str, Written]
    #: An empty directory, for what our engine keeps between starts.
    cache: Path
    #: When it began, on the monotonic clock.
    started_s: float
    say: Callable[[str], None]

    @property
    def timeout_s(self) -> float:
        """How long the next answer may take."""
        return max(0.0, min(self.plan.timeout_s, self.started_s + self.plan.limit_s - time.monotonic()))

    def share_of_rounds(self, shape: str, corpus: str) -> float:
        """Return until when the rounds of a corpus may begin: what time is left is shared with the corpora that follow."""
        everything = [
            (shape, corpus) for shape, corpora in self.plan.corpora.items() for corpus in corpora if corpus in self.corpora
        ]
        num_left = len(everything) - everything.index((shape, corpus))
        return plans.share(time.monotonic(), self.started_s + self.plan.rounds_s, num_left)

    def job(self, spec: Spec, shape: str, corpora: Sequence[str]) -> Job:
        """Return what a contestant is told."""
        ours, published = self.models[shape]
        return Job(
            role=spec.role,
            model=ours if spec.role in ("ours", "judge") else published,
            encoder=published,
            corpora={name: str(self.corpora[name].path) for name in corpora},
            threads=self.threads,
            device=self.device,
            batching=self.batching,
            way=spec.way,
            dtype=spec.dtype,
            batch_size=spec.batch_size,
            is_sorted=spec.is_sorted,
        )

    def start(self, spec: Spec, shape: str, corpora: Sequence[str]) -> Candidate:
        """Start a contestant; the full run keeps its own cache, the quick one uses the machine's."""
        environment = {} if self.plan.is_quick else {"GIST_CACHE_DIR": str(self.cache)}
        return Candidate(self.job(spec, shape, corpora), environment=environment, timeout_s=self.timeout_s)


@dataclass(slots=True)
class _Running:
    """A contestant that is ready, and what is known of it."""

    spec: Spec
    process: Candidate
    about: dict[str, Any]
    warm_start_s: float
    is_chosen: bool = False
    cold_start_s: float | None = None
    #: Why it cannot be asked any more.
    failure: str = ""


def run_shape(setting: Setting, shape: str) -> tuple[list[Panel], dict[str, float]]:
    """Run everybody on one shape and its corpora; return a panel for each, and what the heads cost (empty: not measured)."""
    corpora = [it for it in setting.plan.corpora[shape] if it in setting.corpora]
    with ExitStack() as stack:
        running, missing = _start_all(setting, shape, corpora, stack)
        panels = [_run_corpus(setting, shape, corpus, running, missing) for corpus in corpora]
        heads: dict[str, float] = {}
        chosen = next((it for it in running if it.is_chosen and not it.failure), None)
        if chosen and shape == plans.MINILM and REAL in corpora:
            heads = _heads(setting, chosen)
        return panels, heads


def _heads(setting: Setting, chosen: _Running) -> dict[str, float]:
    """Return what the heads cost; nothing where it dies of it, which is said."""
    setting.say("measuring what the heads cost")
    chosen.process.timeout_s = setting.timeout_s
    try:
        return chosen.process.ask("heads", corpus=REAL, num_texts=_NUM_FOR_HEADS)
    except Died as error:
        setting.say(f"what the heads cost is not known: {error}")
        return {}


def judge(setting: Setting, ways: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return how far these ways of ours are from fp32 on the real texts, with MiniLM's weights; raises `Absent`, `Died`."""
    setting.say("comparing with fp32")
    spec = plans.Spec(name="judge", role="judge", kind="judge")
    with setting.start(spec, plans.MINILM, [REAL]) as process:
        process.ready()
        process.timeout_s = setting.timeout_s
        return process.ask("compare", corpus=REAL, num_texts=setting.plan.num_judged, ways=list(ways))


def _start_all(setting: Setting, shape: str, corpora: Sequence[str], stack: ExitStack) -> tuple[list[_Running], list[Entry]]:
    """Start ours first, because they say which ways there are; return who runs, and who does not."""
    running: list[_Running] = []
    missing: list[Entry] = []

    def start(spec: Spec) -> _Running | None:
        setting.say(f"{shape}: starting {spec.name}")
        process = stack.enter_context(setting.start(spec, shape, corpora))
        try:
            started = _Running(spec, process, *process.ready())
        except (Absent, Died) as error:
            process.close()
            word = "not here" if isinstance(error, Absent) else "failed"
            missing.append(Entry(name=spec.name, kind=spec.kind, missing=f"{word}: {error}"))
            return None
        running.append(started)
        return started

    chosen = start(plans.ours("auto"))
    if chosen:
        _start_ways(setting, chosen, running, start)
    dtype = "bfloat16" if not chosen or "bfloat16" in chosen.about["about"] else "float32"
    for spec in (*setting.plan.peers, plans.roofline(dtype)):
        start(spec)
    return running, missing


def _start_ways(setting: Setting, chosen: _Running, running: list[_Running], start: Callable[[Spec], _Running | None]) -> None:
    """Start each of our ways; the full run ends the first, whose start was the cold one, the quick one keeps it and adds int8."""
    way = chosen.about["chosen"]
    if setting.plan.is_quick:
        chosen.spec, chosen.is_chosen = plans.ours(way), True
        if way != "int8":
            start(plans.ours("int8"))
        return
    running.remove(chosen)
    chosen.process.close()
    for name in chosen.about["ways"]:
        if (started := start(plans.ours(name))) and name == way:
            started.is_chosen, started.cold_start_s = True, chosen.warm_start_s


def _run_corpus(setting: Setting, shape: str, corpus: str, running: Sequence[_Running], missing: Sequence[Entry]) -> Panel:
    """Ask everybody in turn; two rounds find out how much fits, and do not count."""
    written = setting.corpora[corpus]
    samples: dict[str, list[Sample]] = {it.spec.name: [] for it in running}
    sizes: dict[str, int] = {}
    plan, until_s = setting.plan, setting.share_of_rounds(shape, corpus)
    started_s = 0.0
    for number in range(-2, plan.num_rounds):
        last_s, started_s = time.monotonic() - started_s, time.monotonic()
        if number > 0 and started_s + last_s > until_s:
            break
        if number == -1 and started_s > until_s:
            continue
        setting.say(f"{shape}, {corpus}: {f'round {number + 1} of {plan.num_rounds}' if number >= 0 else 'warming up'}")
        for it in running:
            size = sizes.get(it.spec.name, min(_NUM_FIRST, written.num_texts))
            it.process.timeout_s = setting.timeout_s
            if not (sample := _ask(it, corpus, number * size, size)):
                continue
            if number >= 0:
                samples[it.spec.name].append(sample)
                continue
            each_s = sample.seconds / sample.num_messages
            most = written.num_texts * plan.max_turns
            sizes[it.spec.name] = plans.num_messages(each_s, plan.box_s, num_texts=most, batch_size=it.spec.batch_size)
    entries = [_entry(it, samples[it.spec.name]) for it in running]
    return Panel(
        shape=shape,
        corpus=corpus,
        num_messages=written.num_texts,
        mean_tokens=written.mean_tokens,
        caption=CAPTIONS[written.is_tokenizing],
        entries=[*entries, *missing],
    )


def _ask(running: _Running, corpus: str, first: int, num_messages: int) -> Sample | None:
    """Measure once; one that dies says so in its entry, and is not asked again."""
    if running.failure:
        return None
    time.sleep(_SETTLE_S)
    try:
        return Sample(**running.process.ask("measure", corpus=corpus, first=max(0, first), num_messages=num_messages))
    except Died as error:
        running.failure = f"failed: {error}"
        return None


def _entry(running: _Running, samples: list[Sample]) -> Entry:
    return Entry(
        name=running.spec.name,
        kind=running.spec.kind,
        about=running.about["about"],
        missing=running.failure,
        is_chosen=running.is_chosen,
        warm_start_s=running.warm_start_s,
        cold_start_s=running.cold_start_s,
        peak_bytes=running.process.peak_bytes,
        samples=samples,
    )

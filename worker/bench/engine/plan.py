"""The candidates, models and time limits of a run: the whole benchmark, and the quick one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from worker.bench.engine.workload import MIXTURE, REAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GIST_MODEL = "GIST-small's architecture, random weights"
MINILM = "MiniLM-L6, real weights"
#: What the native engine multiplies in; `auto` is the arithmetic that a worker chooses.
ARITHMETICS = ("float32", "int16", "bfloat16", "int8")
_CANDIDATES = "worker.bench.engine.candidates"
Kind = Literal["gist", "first", "padded", "int8", "products"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One candidate, for all models."""

    #: The row in the tables; `{dtype}` is the number format that the candidate found faster.
    name: str
    #: `gist` for the engine; `first` for the baseline as first written, `padded` for tuned ones, `int8` for those in 8 bits;
    #: `products` for the bare matrix products.
    kind: Kind
    role: str
    #: Arguments of the role.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Texts per batch.
    batch_size: int = 32

    @property
    def title(self) -> str:
        """The name without the number format, which is not known before the candidate runs."""
        return self.name.replace(" {dtype}", "")


def _build_baseline(name: str, role: str, *, batch_size: int = 32, kind: Kind = "padded", **options: Any) -> Spec:
    """Return a baseline; the name is completed by the size of its batches."""
    options = {"batch_size": batch_size, **options}
    words = name.format(dtype="{dtype}", batches=f"batches of {batch_size}")
    return Spec(name=words, kind=kind, role=f"{_CANDIDATES}.baselines:{role}", options=options, batch_size=batch_size)


_FIRST = _build_baseline("transformers {dtype}, {batches}, unsorted", "Transformers", kind="first")
_SORTED, _LARGE_SORTED = (
    _build_baseline("transformers {dtype}, {batches}, sorted", "Transformers", batch_size=size, is_sorted=True)
    for size in (64, 256)
)
_SENTENCES, _LARGE_SENTENCES = (
    _build_baseline("SentenceTransformers {dtype}, {batches}", "SentenceTransformers", batch_size=size) for size in (32, 256)
)
_OPENVINO = _build_baseline("OpenVINO {dtype}, {batches}, sorted", "OpenVino", is_sorted=True)
_ONNX = _build_baseline("ONNX Runtime {dtype}, {batches}, sorted", "OnnxRuntime", is_sorted=True)
_ONNX_INT8 = _build_baseline(
    "ONNX Runtime int8 (dynamic), {batches}, sorted", "OnnxRuntime", kind="int8", is_sorted=True, is_quantized=True
)
_PRODUCTS = Spec(name="bare products", kind="products", role=f"{_CANDIDATES}.products:Products", batch_size=256)
_QUICK_BASELINES = (_FIRST, _SENTENCES, _OPENVINO, _ONNX, _ONNX_INT8)
# A GPU needs larger batches.
_GPU_BASELINES = (_FIRST, _LARGE_SORTED, _LARGE_SENTENCES)


def build_engine(arithmetic: str) -> Spec:
    """Return the engine in an arithmetic, or `auto`, as a candidate; 256 texts are at least two full batches."""
    name = f"GIST Stream, {arithmetic}"
    return Spec(name=name, kind="gist", role=f"{_CANDIDATES}.gist_engine:GistEngine", options={"dtype": arithmetic}, batch_size=256)


AUTO = build_engine("auto")
INT8 = build_engine("int8")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """The amount of work."""

    is_quick: bool
    #: Pairs of a model and a corpus, in the order of the run.
    panels: Sequence[tuple[str, str]]
    #: The first is `auto`.
    candidates: Sequence[Spec]
    #: Rounds that count, after the warm-up.
    num_rounds: int
    #: Time of one question; a slower candidate gets fewer texts.
    box_s: float
    #: Upper bound of a question in passes over the corpus.
    max_turns: int = 1
    num_mixture: int
    num_real: int
    #: Texts for the comparison with fp32.
    num_compared: int
    #: Time limit of an answer.
    timeout_s: float
    #: After this time no round begins, except the first of each panel.
    rounds_s: float

    @property
    def left_out(self) -> list[str]:
        """What the whole benchmark measures, and this plan does not."""
        return [spec.title for spec in _FULL.candidates if self.is_quick and spec not in self.candidates]


def build_plan(*, is_quick: bool, is_gpu: bool) -> EnginePlan:
    """Return the whole plan, about six minutes on two cores, or the quick one, one to two minutes."""
    plan = _QUICK if is_quick else _FULL
    return replace(plan, candidates=(AUTO, *_GPU_BASELINES, _PRODUCTS), max_turns=32) if is_gpu else plan


_FULL = EnginePlan(
    is_quick=False,
    panels=((GIST_MODEL, MIXTURE), (MINILM, REAL)),
    candidates=(AUTO, *map(build_engine, ARITHMETICS), _SORTED, *_QUICK_BASELINES, _PRODUCTS),
    num_rounds=3,
    box_s=1.0,
    num_mixture=1024,
    num_real=2000,
    num_compared=2000,
    timeout_s=600,
    rounds_s=330,
)
_QUICK = EnginePlan(
    is_quick=True,
    panels=((GIST_MODEL, MIXTURE),),
    candidates=(AUTO, INT8, *_QUICK_BASELINES, _PRODUCTS),
    num_rounds=2,
    box_s=0.5,
    num_mixture=256,
    num_real=256,
    num_compared=128,
    timeout_s=300,
    rounds_s=80,
)


def fit_texts(seconds_each: float, box_s: float, *, num_texts: int, batch_size: int) -> int:
    """Return the number of texts that fit the time of a question: whole batches, at most `num_texts`."""
    fitting = max(1, int(box_s / seconds_each) // batch_size) * batch_size
    return min(num_texts, fitting)

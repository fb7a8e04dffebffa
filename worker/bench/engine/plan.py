"""The candidates, models and time limits of a run: the whole benchmark, and the quick one. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from worker.bench.engine.workload import MIXTURE, REAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GIST_MODEL = "GIST-small's architecture, random weights"
MINILM = "MiniLM-L6, real weights"
#: The baseline of the first ratio in the summary.
BASELINE = "transformers fp32, batches of 32, unsorted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One candidate, for all models."""

    name: str
    #: A key of `serve.ROLES`.
    role: str
    kind: str = "baseline"
    backend: str = "auto"
    dtype: str = "float32"
    batch_size: int = 32
    is_sorted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """The amount of work."""

    is_quick: bool
    #: The corpora of each model, in the order of the run.
    corpora: Mapping[str, Sequence[str]]
    baselines: Sequence[Spec]
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
    #: After this time no round begins, except the first of each corpus.
    rounds_s: float
    #: Time limit of the run; a candidate without an answer is listed without figures.
    limit_s: float
    left_out: Sequence[str]


def _sentence_transformers(dtype: str, batch_size: int) -> Spec:
    name = f"SentenceTransformers {dtype.replace('float', 'fp').replace('bfp', 'bf')}, batches of {batch_size}"
    return Spec(name=name, role="sentence_transformers", dtype=dtype, batch_size=batch_size)


def _transformers(batch_size: int) -> Spec:
    name = f"transformers bf16, batches of {batch_size}, sorted"
    return Spec(name=name, role="transformers", dtype="bfloat16", batch_size=batch_size, is_sorted=True)


_FIRST = Spec(name=BASELINE, role="transformers")
_OPENVINO = Spec(name="OpenVINO bf16, batches of 32, sorted", role="openvino", dtype="bfloat16", is_sorted=True)
_BASELINES = (
    _FIRST,
    _transformers(64),
    _sentence_transformers("float32", 32),
    _sentence_transformers("bfloat16", 32),
    _sentence_transformers("bfloat16", 64),
    _OPENVINO,
)
# A GPU needs larger batches.
_GPU_BASELINES = (_FIRST, _transformers(256), _sentence_transformers("float32", 32), _sentence_transformers("bfloat16", 256))
_GPU_TURNS = 32
_QUICK_BASELINES = (_FIRST, _sentence_transformers("bfloat16", 32), _OPENVINO)
# At least two full batches in texts of the mixture's length.
_NUM_GIST_TEXTS = 256


def name_backend(backend: str) -> str:
    """Return the name of a backend as a candidate."""
    return f"GIST Stream, {backend}"


def build_backend(backend: str) -> Spec:
    """Return a backend of GIST Stream as a candidate."""
    return Spec(name=name_backend(backend), role="gist_engine", kind="gist", backend=backend, batch_size=_NUM_GIST_TEXTS)


def build_roofline(dtype: str) -> Spec:
    """Return the bare matrix products in a data type as a candidate."""
    return Spec(name=f"bare matrix products, {dtype}", role="roofline", kind="roofline", dtype=dtype, batch_size=_NUM_GIST_TEXTS)


def build_plan(*, is_quick: bool, is_gpu: bool) -> EnginePlan:
    """Return the whole plan, about six minutes on two cores, or the quick one, at most a minute."""
    plan = _QUICK if is_quick else _FULL
    return replace(plan, baselines=_GPU_BASELINES, max_turns=_GPU_TURNS) if is_gpu else plan


_FULL = EnginePlan(
    is_quick=False,
    corpora={GIST_MODEL: (MIXTURE, REAL), MINILM: (MIXTURE, REAL)},
    baselines=_BASELINES,
    num_rounds=3,
    box_s=1.0,
    num_mixture=1024,
    num_real=2000,
    num_compared=2000,
    timeout_s=180,
    rounds_s=330,
    limit_s=3600,
    left_out=(),
)
_QUICK = EnginePlan(
    is_quick=True,
    corpora={GIST_MODEL: (MIXTURE,)},
    baselines=_QUICK_BASELINES,
    num_rounds=2,
    box_s=0.8,
    num_mixture=256,
    num_real=256,
    num_compared=128,
    timeout_s=40,
    rounds_s=42,
    limit_s=57,
    left_out=(
        "MiniLM, and the real corpus except for the comparison with fp32",
        "backends other than the chosen one and int8",
        *(spec.name for spec in _BASELINES if spec not in _QUICK_BASELINES),
        "the cold start",
        "the cost of the heads",
    ),
)


def divide_time(now_s: float, until_s: float, num_parts: int) -> float:
    """Return the end of the first of `num_parts` equal parts of the time until `until_s`; never before now."""
    return now_s + max(0.0, until_s - now_s) / num_parts


def fit_texts(seconds_each: float, box_s: float, *, num_texts: int, batch_size: int) -> int:
    """Return the number of texts that fit the time of a question: whole batches, at most `num_texts`."""
    fitting = max(1, int(box_s / seconds_each) // batch_size) * batch_size
    return min(num_texts, fitting)

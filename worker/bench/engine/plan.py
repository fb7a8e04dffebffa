"""Who runs on what, and how long: the whole benchmark, and the one that ends within a minute. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from worker.bench.engine.workload import MIXTURE, REAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GIST_SHAPE = "GIST's shape, random weights"
MINILM = "MiniLM-L6, real weights"
#: The one contestant that the first ratio is against.
FIRST_WRITTEN = "transformers fp32, 32 in arrival order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One contestant, for all shapes."""

    name: str
    role: str
    kind: str
    way: str = "auto"
    dtype: str = "float32"
    batch_size: int = 32
    is_sorted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """One run."""

    is_quick: bool
    #: The corpora of each shape, in the order in which they are run.
    corpora: Mapping[str, Sequence[str]]
    peers: Sequence[Spec]
    #: Rounds that count, after one that does not.
    num_rounds: int
    #: What one question may take of the time; who is slow gets fewer texts.
    box_s: float
    #: How often a question may go through the corpus in that time.
    max_turns: int = 1
    num_mixture: int
    num_real: int
    #: The texts for the comparison with fp32.
    num_judged: int
    #: How long any one answer may take.
    timeout_s: float
    #: When no more rounds begin, where a busy machine makes them long; one that counts there is always.
    rounds_s: float
    #: When everything is over: who has not answered by then is listed without numbers.
    limit_s: float
    left_out: Sequence[str]


_PEERS = (
    Spec(name=FIRST_WRITTEN, role="transformers", kind="padded"),
    Spec(name="transformers bf16, 64 sorted", role="transformers", kind="padded", dtype="bfloat16", batch_size=64, is_sorted=True),
    Spec(name="SentenceTransformers fp32, 32", role="sentence_transformers", kind="padded"),
    Spec(name="SentenceTransformers bf16, 32", role="sentence_transformers", kind="padded", dtype="bfloat16"),
    Spec(name="SentenceTransformers bf16, 64", role="sentence_transformers", kind="padded", dtype="bfloat16", batch_size=64),
    Spec(name="OpenVINO bf16, 32 sorted", role="openvino", kind="padded", dtype="bfloat16", is_sorted=True),
)
# On a GPU, which wants more texts at a time.
_GPU_PEERS = (
    Spec(name=FIRST_WRITTEN, role="transformers", kind="padded"),
    Spec(
        name="transformers bf16, 256 sorted", role="transformers", kind="padded", dtype="bfloat16", batch_size=256, is_sorted=True
    ),
    Spec(name="SentenceTransformers fp32, 32", role="sentence_transformers", kind="padded"),
    Spec(name="SentenceTransformers bf16, 256", role="sentence_transformers", kind="padded", dtype="bfloat16", batch_size=256),
)
# So often a GPU goes through the corpus for one question, at most: it is fast.
_GPU_TURNS = 32
_ESSENTIAL = (FIRST_WRITTEN, "SentenceTransformers bf16, 32", "OpenVINO bf16, 32 sorted")

# Two full batches of ours, at least, in texts of the mixture's length.
_NUM_OURS = 256


def ours(way: str) -> Spec:
    """Return one of our ways as a contestant."""
    return Spec(name=f"ours, {way}", role="ours", kind="ours", way=way, batch_size=_NUM_OURS)


def roofline(dtype: str) -> Spec:
    """Return the bare matrix products, in the number format that our engine chooses here."""
    return Spec(name=f"bare matrix products, {dtype}", role="roofline", kind="roofline", dtype=dtype, batch_size=_NUM_OURS)


def on_gpu(plan: EnginePlan) -> EnginePlan:
    """Return the same for a GPU: other peers, more texts."""
    return replace(plan, peers=_GPU_PEERS, max_turns=_GPU_TURNS)


def full() -> EnginePlan:
    """Return everything; some six minutes on two cores."""
    return EnginePlan(
        is_quick=False,
        corpora={GIST_SHAPE: (MIXTURE, REAL), MINILM: (MIXTURE, REAL)},
        peers=_PEERS,
        num_rounds=3,
        box_s=1.0,
        num_mixture=1024,
        num_real=2000,
        num_judged=2000,
        timeout_s=180,
        rounds_s=330,
        limit_s=3600,
        left_out=(),
    )


def quick() -> EnginePlan:
    """Return the essential, which ends within a minute on two cores."""
    return EnginePlan(
        is_quick=True,
        corpora={GIST_SHAPE: (MIXTURE,)},
        peers=tuple(it for it in _PEERS if it.name in _ESSENTIAL),
        num_rounds=2,
        box_s=0.8,
        num_mixture=256,
        num_real=256,
        num_judged=128,
        timeout_s=40,
        rounds_s=42,
        limit_s=57,
        left_out=(
            "MiniLM's shape and the real corpus (but for the comparison with fp32)",
            "our other ways, but for int8",
            *(it.name for it in _PEERS if it.name not in _ESSENTIAL),
            "the cold start",
            "what the heads cost",
        ),
    )


def share(now_s: float, until_s: float, num_parts: int) -> float:
    """Return until when the first of so many parts may go on, if all are to take equally long; never before now."""
    return now_s + max(0.0, until_s - now_s) / num_parts


def num_messages(seconds_each: float, box_s: float, *, num_texts: int, batch_size: int) -> int:
    """Return how many messages a question asks for, so that it fits its time: some whole batches, or the whole corpus."""
    fitting = max(1, int(box_s / seconds_each) // batch_size) * batch_size
    return min(num_texts, fitting)

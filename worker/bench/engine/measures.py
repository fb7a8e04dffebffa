"""What was measured, in plain numbers: one sample for each question, and what several of them say together. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One contestant's answer to one question: some texts, and how long they took."""

    num_messages: int
    #: Tokens of the texts, special tokens included.
    num_tokens: int
    #: Rows of the matrices that were computed for them: tokens and padding.
    num_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(slots=True, kw_only=True)
class Entry:
    """One contestant on one shape and one corpus."""

    name: str
    #: `ours`, `padded` or `roofline`.
    kind: str
    #: What it says of itself, once it runs.
    about: str = ""
    #: Why there are no numbers (not installed, not on this machine, died); empty where there are.
    missing: str = ""
    #: Whether this is the way that `auto` chooses here.
    is_chosen: bool = False
    #: From the start of the process to its first vector, with what an earlier start left behind.
    warm_start_s: float | None = None
    #: The same with nothing left behind, where that makes a difference.
    cold_start_s: float | None = None
    peak_bytes: int | None = None
    samples: list[Sample] = field(default_factory=list)

    @property
    def fill(self) -> float:
        """Tokens of texts for each row that was computed."""
        return sum(it.num_tokens for it in self.samples) / sum(it.num_rows for it in self.samples)

    @property
    def tokens_per_s(self) -> Spread:
        """Tokens of texts for each second; padding is not counted."""
        return Spread.of([it.num_tokens / it.seconds for it in self.samples])


@dataclass(slots=True, kw_only=True)
class Panel:
    """Everybody on one shape and one corpus."""

    shape: str
    corpus: str
    num_messages: int
    #: Tokens of a text of the whole corpus, special tokens included.
    mean_tokens: float
    caption: str
    entries: list[Entry]

    def messages_per_s(self, entry: Entry) -> Spread:
        """Return messages a second: those of the corpus's mean length, so that who took other parts of it is not favoured."""
        tokens = entry.tokens_per_s
        return Spread(*(it / self.mean_tokens for it in (tokens.median, tokens.min, tokens.max)))

    def measured(self, kind: str | None = None) -> list[Entry]:
        """Return who has numbers, in order; `kind` keeps one kind."""
        return [it for it in self.entries if it.samples and kind in (None, it.kind)]

    def find(self, name: str) -> Entry | None:
        """Return a contestant that has numbers."""
        return next((it for it in self.measured() if it.name == name), None)

    @property
    def num_rounds(self) -> int:
        """How many rounds counted."""
        return max((len(it.samples) for it in self.entries), default=0)

    @property
    def chosen(self) -> Entry | None:
        """The way of ours that `auto` takes."""
        return next((it for it in self.measured("ours") if it.is_chosen), None)

    def ratio(self, entry: Entry | None, other: Entry | None) -> float | None:
        """Return how many times faster one is than another, by medians; None where one has no numbers."""
        return entry.tokens_per_s.median / other.tokens_per_s.median if entry and other else None

    def roofline_fraction(self, entry: Entry | None) -> float | None:
        """Return how near a contestant is to the bare matrix products of the same tokens."""
        return self.ratio(entry, next(iter(self.measured("roofline")), None))

    def as_json(self) -> dict[str, Any]:
        """Return it in plain values."""
        return {
            "shape": self.shape,
            "corpus": self.corpus,
            "num_messages": self.num_messages,
            "mean_tokens": self.mean_tokens,
            "num_rounds": self.num_rounds,
            "caption": self.caption,
            "contestants": [self._entry_as_json(it) for it in self.entries],
        }

    def _entry_as_json(self, entry: Entry) -> dict[str, Any]:
        plain: dict[str, Any] = {"name": entry.name, "kind": entry.kind, "is_chosen": entry.is_chosen, "about": entry.about}
        if not entry.samples:
            return plain | {"missing": entry.missing}
        rates = {"messages_per_s": self.messages_per_s(entry), "tokens_per_s": entry.tokens_per_s}
        return plain | {
            **{name: {"median": it.median, "min": it.min, "max": it.max} for name, it in rates.items()},
            "vs_chosen": self.ratio(entry, self.chosen),
            "roofline_fraction": self.roofline_fraction(entry),
            "fill": entry.fill,
            "peak_bytes": entry.peak_bytes,
            "cold_start_s": entry.cold_start_s,
            "warm_start_s": entry.warm_start_s,
            "missing": entry.missing,
            "samples": [_sample_as_json(it) for it in entry.samples],
        }


@dataclass(slots=True, kw_only=True)
class CandidateResult:
    """One run."""

    machine: Mapping[str, Any]
    is_quick: bool
    left_out: Sequence[str]
    panels: list[Panel]
    #: For each way of ours: how far it is from fp32 (`judge`); empty where nobody could measure it.
    exactness: Mapping[str, Mapping[str, float]]
    #: What the heads cost (`head_costs`); empty where it was not measured.
    heads: Mapping[str, float]
    seconds: float


def _sample_as_json(sample: Sample) -> dict[str, float]:
    return {
        "num_messages": sample.num_messages,
        "num_tokens": sample.num_tokens,
        "num_rows": sample.num_rows,
        "seconds": sample.seconds,
    }

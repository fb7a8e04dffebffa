"""Samples, and the figures of several samples. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement of a candidate: some texts and their time."""

    num_messages: int
    #: Tokens of the texts, special tokens included.
    num_tokens: int
    #: Rows of the matrices: tokens and padding.
    num_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several rounds."""

    median: float
    min: float
    max: float

    @classmethod
    def summarize(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(slots=True, kw_only=True)
class Entry:
    """A candidate on one model and one corpus."""

    name: str
    #: `gist`, `baseline` or `roofline`.
    kind: str
    #: The candidate's own description of device, data type and batches.
    about: str = ""
    #: Why there are no figures: not installed, not on this machine, or crashed. Empty otherwise.
    missing: str = ""
    #: Whether `GIST_BACKEND=auto` chooses this backend.
    is_chosen: bool = False
    #: Seconds from the start of the process to its first vector, with a filled cache.
    warm_start_s: float | None = None
    #: The same with an empty cache, for a backend that fills one.
    cold_start_s: float | None = None
    peak_bytes: int | None = None
    samples: list[Sample] = field(default_factory=list)

    @property
    def fill(self) -> float:
        """Tokens per computed row; below 1 because of padding."""
        return sum(sample.num_tokens for sample in self.samples) / sum(sample.num_rows for sample in self.samples)

    @property
    def tokens_per_s(self) -> Spread:
        """Tokens per second without padding."""
        return Spread.summarize([sample.num_tokens / sample.seconds for sample in self.samples])


@dataclass(slots=True, kw_only=True)
class CorpusResults:
    """All candidates on one model and one corpus."""

    model: str
    corpus: str
    num_messages: int
    #: Mean tokens of a text in the corpus, special tokens included.
    mean_tokens: float
    caption: str
    entries: list[Entry]

    def messages_per_s(self, entry: Entry) -> Spread:
        """Return texts per second, computed from tokens: candidates take different parts of the corpus."""
        tokens = entry.tokens_per_s
        return Spread(*(figure / self.mean_tokens for figure in (tokens.median, tokens.min, tokens.max)))

    def measured(self, kind: str | None = None) -> list[Entry]:
        """Return the entries with figures, of one kind or of all."""
        return [entry for entry in self.entries if entry.samples and kind in (None, entry.kind)]

    def find(self, name: str) -> Entry | None:
        """Return the entry of a name if it has figures."""
        return next((entry for entry in self.measured() if entry.name == name), None)

    @property
    def num_rounds(self) -> int:
        """Rounds that count."""
        return max((len(entry.samples) for entry in self.entries), default=0)

    @property
    def chosen(self) -> Entry | None:
        """The backend that `GIST_BACKEND=auto` chooses."""
        return next((entry for entry in self.measured("gist") if entry.is_chosen), None)

    @property
    def best_baseline(self) -> Entry | None:
        """The fastest baseline."""
        return max(self.measured("baseline"), key=lambda entry: entry.tokens_per_s.median, default=None)

    def ratio(self, entry: Entry | None, other: Entry | None) -> float | None:
        """Return the ratio of the medians of two entries; None if one has no figures."""
        return entry.tokens_per_s.median / other.tokens_per_s.median if entry and other else None

    def roofline_fraction(self, entry: Entry | None) -> float | None:
        """Return the throughput of an entry over that of the bare matrix products of the same tokens."""
        return self.ratio(entry, next(iter(self.measured("roofline")), None))

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        fields = ("model", "corpus", "num_messages", "mean_tokens", "num_rounds", "caption")
        return {name: getattr(self, name) for name in fields} | {
            "candidates": [self._entry_as_json(entry) for entry in self.entries]
        }

    def _entry_as_json(self, entry: Entry) -> dict[str, Any]:
        plain = asdict(entry)
        if not entry.samples:
            return plain
        return plain | {
            "messages_per_s": asdict(self.messages_per_s(entry)),
            "tokens_per_s": asdict(entry.tokens_per_s),
            "vs_chosen": self.ratio(entry, self.chosen),
            "roofline_fraction": self.roofline_fraction(entry),
            "fill": entry.fill,
        }


@dataclass(slots=True, kw_only=True)
class EngineResults:
    """All results of one run."""

    machine: Mapping[str, Any]
    is_quick: bool
    left_out: Sequence[str]
    panels: list[CorpusResults]
    #: Differences from fp32 by backend (`compare_outputs`); empty if not measured.
    exactness: Mapping[str, Mapping[str, float]]
    #: The cost of the heads (`head_costs`); empty if not measured.
    heads: Mapping[str, float]
    seconds: float

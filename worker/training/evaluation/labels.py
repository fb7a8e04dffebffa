"""How good the labels of texts are, and whether their probabilities can be believed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from worker.training.evaluation.bootstrap import bootstrap_mean, share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from worker.training.evaluation.bootstrap import Floats, Statistic

NUM_BINS = 15
ECE = (
    f"expected calibration error (Guo et al., 2017): what is said falls into {NUM_BINS} bins of equal width by its probability, "
    "each open below and closed above; the mean, over all that is said, of |share of its bin that is right - its mean probability|"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a head says of `n` texts, beside what is true of them."""

    labels: tuple[str, ...]
    #: The place of the true label, `[n]`.
    true: NDArray[np.intp]
    #: The probability of each label, `[n, labels]`.
    probabilities: Floats

    @property
    def said(self) -> NDArray[np.intp]:
        """The place of the most probable label, `[n]`."""
        places: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return places

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether that is the true one, `[n]`."""
        return np.asarray(self.said == self.true)

    @property
    def confidence(self) -> Floats:
        """Its probability, `[n]`."""
        return np.asarray(self.probabilities.max(axis=1, initial=0.0))


def judged(labels: tuple[str, ...], true: Sequence[str], scores: Sequence[Mapping[str, float]]) -> Judged:
    """Put together what is true and what was said; every true label is one of `labels`."""
    place = {label: number for number, label in enumerate(labels)}
    probabilities = np.array([[it[label] for label in labels] for it in scores], dtype=np.float64)
    return Judged(labels, np.array([place[it] for it in true], dtype=np.intp), probabilities.reshape(-1, len(labels)))


def statistics(it: Judged) -> dict[str, Statistic]:
    """Return the figures of a head: accuracy, macro F1, AUROC and the expected calibration error."""
    return {
        "accuracy": bootstrap_mean(it.is_right.astype(np.float64)),
        "macro F1": partial(_macro_f1, *_counts(it)),
        "AUROC": auroc(it),
        "ECE": calibration_error(it.confidence, it.is_right, np.arange(len(it.true))),
    }


def num_counted(it: Judged) -> dict[str, list[int]]:
    """Return the number of texts that each figure counts; for macro F1 those of each label, by which a text is true or given."""
    _, named = _counts(it)
    return {"accuracy": [len(it.true)], "macro F1": np.count_nonzero(named, axis=0).tolist()}


def confusion(it: Judged) -> NDArray[np.int64]:
    """Return how many texts of each true label (rows) were given each label (columns)."""
    width = len(it.labels)
    return np.bincount(it.true * width + it.said, minlength=width * width).reshape(width, width).astype(np.int64)


def _counts(it: Judged) -> tuple[Floats, Floats]:
    """Return for each text and label whether it is rightly given, and how often it is true or given, `[n, labels]` both."""
    one_of = np.eye(len(it.labels))
    is_true, is_said = one_of[it.true], one_of[it.said]
    return is_true * is_said, is_true + is_said


def _macro_f1(right: Floats, named: Floats, weights: Floats) -> Floats:
    """Return the mean F1 of the labels that are true or given somewhere (as scikit-learn has it)."""
    of_label = share(2 * (weights @ right), weights @ named)
    return share(np.nansum(of_label, axis=1), (~np.isnan(of_label)).sum(axis=1).astype(np.float64))


def auroc(it: Judged) -> Statistic:
    """Return the area under the ROC curve; for more than two labels the mean of each against the rest, where both are there."""
    # Of two labels, each against the rest is the same.
    places = range(len(it.labels)) if len(it.labels) > 2 else (1,)  # noqa: PLR2004
    each = [partial(_area, *_by_score(it.probabilities[:, place], it.true == place)) for place in places]

    def statistic(weights: Floats) -> Floats:
        areas = np.stack([area(weights) for area in each])
        return share(np.nansum(areas, axis=0), (~np.isnan(areas)).sum(axis=0).astype(np.float64))

    return statistic


def _by_score(scores: Floats, is_it: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return the order of texts by score, where each run of equal scores starts in it, and who belongs to the label."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    return order, starts, is_it[order].astype(np.float64)


def _area(order: NDArray[np.intp], starts: NDArray[np.intp], is_it: Floats, weights: Floats) -> Floats:
    """Return how often a text of the label scores above one of the rest; an equal score counts half."""
    own = weights[:, order]
    if not len(starts):
        return np.full(len(weights), np.nan)
    mine, all_ = np.add.reduceat(own * is_it, starts, axis=1), np.add.reduceat(own, starts, axis=1)
    rest = all_ - mine
    below = np.cumsum(rest, axis=1) - rest / 2
    return share((mine * below).sum(1), mine.sum(1) * rest.sum(1))


def build_bins(confidence: Floats) -> NDArray[np.intp]:
    """Return the bin of each probability."""
    return np.clip(np.ceil(confidence * NUM_BINS).astype(np.intp) - 1, 0, NUM_BINS - 1)


def calibration_error(confidence: Floats, is_right: NDArray[np.bool_], text: NDArray[np.intp]) -> Statistic:
    """Return the expected calibration error of what is said; `text` is the place of the text that each is said of."""
    gaps = np.zeros((len(confidence), NUM_BINS))
    gaps[np.arange(len(confidence)), build_bins(confidence)] = is_right - confidence

    def statistic(weights: Floats) -> Floats:
        own = weights[:, text]
        return share(np.abs(own @ gaps).sum(axis=1), own.sum(axis=1))

    return statistic


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of the reliability diagram."""

    num: int
    confidence: float
    accuracy: float


def reliability(confidence: Floats, is_right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return the bins in which there is something."""
    bins = build_bins(confidence)
    return tuple(
        Bin(int(own.sum()), float(confidence[own].mean()), float(is_right[own].mean()))
        for own in (bins == number for number in np.unique(bins))
    )

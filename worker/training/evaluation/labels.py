"""Figures of a classification head: accuracy, macro F1, AUROC, and calibration. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score, roc_auc_score

from worker.training.evaluation.bootstrap import DEFAULT_DRAWS, estimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from worker.training.evaluation.bootstrap import BootstrapEstimate, Draws, Floats, Indices, Statistic

NUM_BINS = 15
ECE = (
    f"expected calibration error (Guo et al., 2017): predictions fall into {NUM_BINS} bins of equal width by their probability, "
    "each bin open below and closed above; the error is the mean over all predictions of "
    "|share of right predictions in the bin - mean probability in the bin|"
)


@dataclass(frozen=True, slots=True)
class LabelPredictions:
    """The predictions of a head for `n` texts, and their true labels."""

    labels: tuple[str, ...]
    #: The index of the true label, `[n]`.
    true: Indices
    #: The probability of each label, `[n, labels]`.
    probabilities: Floats

    @property
    def predicted(self) -> Indices:
        """The index of the most probable label, `[n]`."""
        indices: Indices = self.probabilities.argmax(axis=1)
        return indices

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """Whether the most probable label is the true one, `[n]`."""
        return np.asarray(self.predicted == self.true)

    @property
    def confidence(self) -> Floats:
        """The probability of the most probable label, `[n]`."""
        return np.asarray(self.probabilities.max(axis=1, initial=0.0))


def build_predictions(labels: tuple[str, ...], true: Sequence[str], scores: Sequence[Mapping[str, float]]) -> LabelPredictions:
    """Return true labels, each one of `labels`, together with the scores of a head."""
    index = {label: number for number, label in enumerate(labels)}
    probabilities = np.array([[score[label] for label in labels] for score in scores], dtype=np.float64)
    return LabelPredictions(
        labels, np.array([index[label] for label in true], dtype=np.intp), probabilities.reshape(-1, len(labels))
    )


def estimate_figures(predictions: LabelPredictions, draws: Draws = DEFAULT_DRAWS) -> dict[str, BootstrapEstimate]:
    """Return accuracy, macro F1, AUROC and expected calibration error with their intervals."""
    true, predicted, probabilities = predictions.true, predictions.predicted, predictions.probabilities
    is_right, num_texts = predictions.is_right, len(true)
    # A label's F1 counts the texts with the label, and the texts for which the head predicts the label.
    named = [int(((true == label) | (predicted == label)).sum()) for label in range(len(predictions.labels))]
    return {
        "accuracy": estimate(lambda texts: is_right[texts].mean(), num_texts, draws, num_counted=[num_texts]),
        "macro F1": estimate(lambda texts: macro_f1(true[texts], predicted[texts]), num_texts, draws, num_counted=named),
        "AUROC": estimate(lambda texts: auroc(true[texts], probabilities[texts]), num_texts, draws),
        "ECE": estimate_calibration_error(predictions.confidence, is_right, np.arange(num_texts), num_texts, draws),
    }


def count_confusion(predictions: LabelPredictions) -> NDArray[np.int64]:
    """Return how many texts of each true label (rows) have each predicted label (columns)."""
    width = len(predictions.labels)
    if not len(predictions.true):
        return np.zeros((width, width), dtype=np.int64)
    counts: NDArray[np.int64] = confusion_matrix(predictions.true, predictions.predicted, labels=range(width))
    return counts


def macro_f1(true: Indices, predicted: Indices) -> float:
    """Return the mean F1 of the labels that are true or predicted somewhere."""
    return float(f1_score(true, predicted, average="macro", zero_division=np.nan))


def auroc(true: Indices, probabilities: Floats) -> float:
    """Return the area under the ROC curve: of two labels the second's, of more labels the mean of each against the rest.

    A label that no text or every text has does not count; without any other label the area is NaN.
    """
    labels = range(probabilities.shape[1]) if probabilities.shape[1] > 2 else (1,)  # noqa: PLR2004  two labels have one curve
    areas = [
        roc_auc_score(true == label, probabilities[:, label]) for label in labels if 0 < int((true == label).sum()) < len(true)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def find_bins(confidence: Floats) -> Indices:
    """Return the bin of each probability."""
    return np.clip(np.ceil(confidence * NUM_BINS).astype(np.intp) - 1, 0, NUM_BINS - 1)


def estimate_calibration_error(
    confidence: Floats, is_right: NDArray[np.bool_], text: Indices, num_texts: int, draws: Draws
) -> BootstrapEstimate:
    """Return the expected calibration error of some predictions; without an interval if all are right or all are wrong.

    The draws would have the spread of the probabilities only, and the interval would be far too narrow.
    """
    found = estimate(build_calibration_error(confidence, is_right, text), num_texts, draws)
    return found if 0 < is_right.sum() < len(is_right) else replace(found, low=math.nan, high=math.nan)


def build_calibration_error(confidence: Floats, is_right: NDArray[np.bool_], text: Indices) -> Statistic:
    """Return the expected calibration error of some predictions as a statistic; `text` is the index of each prediction's text."""
    bins, gaps = find_bins(confidence), is_right - confidence

    def compute(texts: Indices) -> float:
        counts = np.bincount(texts, minlength=int(text.max(initial=-1)) + 1)[text]
        total = counts.sum()
        return float(np.abs(np.bincount(bins, counts * gaps)).sum() / total) if total else float("nan")

    return compute


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of the reliability diagram."""

    num: int
    confidence: float
    accuracy: float


def measure_reliability(confidence: Floats, is_right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """Return the bins that hold a prediction."""
    bins = find_bins(confidence)
    return tuple(
        Bin(int(own.sum()), float(confidence[own].mean()), float(is_right[own].mean()))
        for own in (bins == number for number in np.unique(bins))
    )

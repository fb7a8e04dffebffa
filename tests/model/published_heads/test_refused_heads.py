"""A head that cannot be served exactly is refused with one line, before any record is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.checkpoint.published import rewrite
from tests.model.published import publish_family
from worker.errors import BadModel
from worker.model.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.model


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["LABEL_0", "LABEL_1"], "the label LABEL_0 has no name: name the labels in id2label"),
        (["O", "B-PER", "I-PER", "MISC"], "not a tagging scheme: 'MISC' is neither O"),
        (["O", "B-PER", "E-PER", "L-PER"], "the prefixes B, E, L are not those of"),
        (["B", "I-PER", "O"], "not a tagging scheme: 'B' is neither O"),
        (["O", "PER", "PER"], "at least two labels, all different"),
    ],
)
def test_labels_that_are_no_tagging_scheme_are_refused(tmp_path: Path, labels: Sequence[str], reason: str) -> None:
    """The line names the label."""
    publish_family(tmp_path, "bert", "ForTokenClassification", labels=labels)
    with pytest.raises(BadModel, match=reason) as raised:
        checkpoint.load(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"problem_type": "ranking"}, "problem_type is 'ranking'"),
        ({"id2label": {"0": "bad", "1": "good"}}, "id2label has 2 labels, and the weights of the head have 3"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, "id2label has 3 labels"),
        ({"architectures": ["BertForQuestionAnswering"]}, r"a BertForQuestionAnswering \(bad, meh, good\) cannot be served"),
        ({"architectures": ["BertModel"]}, r"would be dropped: classifier\.bias"),
    ],
)
def test_a_configuration_that_does_not_fit_the_head_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """Labels, weights and `problem_type` must agree."""
    publish_family(tmp_path, "bert", "ForSequenceClassification", labels=["bad", "meh", "good"])
    rewrite(tmp_path / "config.json", **changes)
    with pytest.raises(BadModel, match=reason) as raised:
        checkpoint.load(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda head: head.pop("classifier.weight"), r"the tensor classifier\.weight is missing"),
        (lambda head: head.pop("classifier.bias"), r"has the tensors hidden\.bias, hidden\.weight, output\.weight"),
        (
            lambda head: head.update({"classifier.weight": torch.zeros(3, 7)}),
            r"output\.weight has the shape \[3, 7\], not \[3, 128\]",
        ),
        (lambda head: head["classifier.bias"].fill_(float("nan")), "numbers that are not finite"),
        (lambda head: head.update({"classifier.bias": torch.zeros(3, dtype=torch.int8)}), r"the tensor classifier\.bias holds I8"),
    ],
)
def test_weights_that_are_not_those_of_the_head_are_refused(tmp_path: Path, change: Callable[[Any], object], reason: str) -> None:
    """The line names the tensor."""
    publish_family(tmp_path, "bert", "ForSequenceClassification", labels=["bad", "meh", "good"])
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=reason):
        checkpoint.load(str(tmp_path))

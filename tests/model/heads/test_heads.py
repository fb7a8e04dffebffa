"""Heads: what may be one, what shape it has, and what words hear of each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadModel
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head, attended, in_context
from worker.model.outputs.bio import bio_labels

NER = HeadConfig(name="ner", task="ner", labels=bio_labels(["LOC", "PER"]), layers=(1, 2))


def config(**changes: Any) -> HeadConfig:
    """Return a classifier's configuration."""
    fields: dict[str, Any] = {"name": "s", "task": "classify", "labels": ("no", "yes"), "layers": (6,)}
    return HeadConfig(**fields | changes)


@pytest.mark.parametrize("hidden_size", [0, 8])
@pytest.mark.parametrize("has_attention", [False, True])
@pytest.mark.parametrize(("labels", "num_logits"), [(("a", "b"), 1), (("a", "b", "c"), 3)])
def test_shapes(hidden_size: int, has_attention: bool, labels: tuple[str, ...], num_logits: int) -> None:  # noqa: FBT001
    """Linear or not, one number or one for each label, and with attention one more."""
    head = Head(config(labels=labels, hidden_size=hidden_size, has_attention=has_attention, layers=(1, 2)), 16).eval()
    states = [torch.randn(5, 16, dtype=torch.bfloat16) for _ in range(2)]
    assert head(states).shape == (5, num_logits + has_attention)
    assert head(states).dtype == torch.float32


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 1000))
def test_words_hear_their_neighbours(lengths: list[int], context: int, seed: int) -> None:
    """Those of their own text, so many before and after, each through a part of its own."""
    parts = 1 + 2 * context
    logits = torch.randn(sum(lengths), parts * 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    starts = np.cumsum([0, *lengths])
    expected = torch.zeros(len(logits), 3, dtype=torch.float64)
    for start, end in pairwise(starts.tolist()):
        for word in range(start, end):
            for part in range(parts):
                if start <= word + part - context < end:
                    expected[word] += logits[word + part - context, 3 * part : 3 * part + 3]
    torch.testing.assert_close(in_context(logits, torch.from_numpy(starts), 3), expected)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 3), st.integers(0, 1000))
def test_tokens_count_as_much_as_they_say(lengths: list[int], num_labels: int, seed: int) -> None:
    """Those of a text share one softmax, and no number is too large for it."""
    logits = torch.randn(sum(lengths), num_labels + 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[:, -1] *= 1000
    starts = np.cumsum([0, *lengths])
    texts = [logits[start:end] for start, end in pairwise(starts.tolist())]
    expected = torch.stack([text[:, -1].softmax(0) @ text[:, :-1] for text in texts])
    torch.testing.assert_close(attended(logits, torch.from_numpy(starts)), expected)


def test_a_temperature_changes_no_path() -> None:
    """Transitions are divided with the logits, and the head knows by what in all."""
    head = Head(replace(NER, has_crf=True, temperature=3.0), 4)
    assert head.transitions is not None
    torch.nn.init.normal_(head.transitions)
    before, output = head.transitions.detach().clone(), head.output.weight.detach().clone()
    head.divide_logits(2.0)
    torch.testing.assert_close(head.transitions.detach(), before / 2)
    torch.testing.assert_close(head.output.weight.detach(), output / 2)
    assert head.config.temperature == 6


def test_a_temperature_changes_no_attention() -> None:
    """Of what a text says, exactly; of how much its tokens count, nothing."""
    head = Head(config(has_attention=True), 4).eval()
    states, starts = [torch.randn(5, 4)], torch.tensor([0, 2, 5])
    before = attended(head(states), starts)
    head.divide_logits(2.0)
    torch.testing.assert_close(attended(head(states), starts), before / 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "translate"}, "classify and ner are known"),
        ({"labels": ("one",)}, "at least two labels"),
        ({"labels": ("a", "a")}, "all different"),
        ({"layers": ()}, "reads no layer"),
        ({"layers": (-1,)}, "reads no layer"),
        ({"num_hidden_layers": 0}, "one or more"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"task": "ner", "context_words": 9}, "4 at most"),
        ({"task": "ner", "is_multi_label": True}, "several labels, numbers and attention"),
        ({"task": "ner", "has_attention": True}, "several labels, numbers and attention"),
        ({"has_crf": True}, "transitions and context"),
        ({"context_words": 1}, "transitions and context"),
    ],
)
def test_an_impossible_head_is_refused(changes: dict[str, Any], reason: str) -> None:
    """With its name."""
    with pytest.raises(BadModel, match=reason):
        config(**changes)

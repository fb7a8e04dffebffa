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
from worker.model.bio import labels_of
from worker.model.heads import Head, HeadConfig, in_context

NER = HeadConfig(name="ner", task="ner", labels=labels_of(["LOC", "PER"]), layers=(1, 2))


def config(**changes: Any) -> HeadConfig:
    """Return a classifier's configuration."""
    fields: dict[str, Any] = {"name": "s", "task": "classify", "labels": ("no", "yes"), "layers": (6,)}
    return HeadConfig(**fields | changes)


@pytest.mark.parametrize("hidden_size", [0, 8])
@pytest.mark.parametrize(("labels", "num_logits"), [(("a", "b"), 1), (("a", "b", "c"), 3)])
def test_shapes(hidden_size: int, labels: tuple[str, ...], num_logits: int) -> None:
    """Linear or not, one number or one for each label."""
    head = Head(config(labels=labels, hidden_size=hidden_size, layers=(1, 2)), 16).eval()
    states = [torch.randn(5, 16, dtype=torch.bfloat16) for _ in range(2)]
    assert head(states).shape == (5, num_logits)
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
        ({"task": "ner", "is_multi_label": True}, "several labels are for classify"),
        ({"has_crf": True}, "transitions and context for ner"),
        ({"context_words": 1}, "transitions and context for ner"),
    ],
)
def test_what_could_not_be_a_head_is_refused(changes: dict[str, Any], reason: str) -> None:
    """With its name."""
    with pytest.raises(BadModel, match=reason):
        config(**changes)

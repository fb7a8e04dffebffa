"""What heads read: the same states from an encoder that learns and from the disk, and none computed twice."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from tests.training.runs import Silent, build_run, build_tasks, learned, values
from worker.model.checkpoint import checkpoint
from worker.training.config import check_run
from worker.training.learning import states as module
from worker.training.learning.state_cache import StateCache
from worker.training.learning.states import Frozen, Live, compute_digest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model


def test_live_states_and_those_on_the_disk_are_the_same(tmp_path: Path) -> None:
    """States of texts, words and tokens agree up to half precision, and live states have gradients."""
    shape = values(tmp_path)
    shape["heads"].append(shape["heads"][0] | {"name": "tone", "has_attention": True})
    run = check_run(shape, source="test")
    loaded = checkpoint.load(run.encoder)
    pooling = loaded.heads.sentence.pooling
    live = Live(loaded.encoder, pooling, dtype=torch.float32)
    frozen = Frozen(loaded.encoder, pooling, StateCache(tmp_path / "states", max_gigabytes=1), Silent())
    for task in build_tasks(run, loaded):
        texts = np.array([5, 2, 60])
        num_rows = {"mood": 3, "ner": 12, "tone": sum(len(task.tokens[text]) for text in texts)}
        for one, other in zip(live.read(task, texts), frozen.read(task, texts), strict=True):
            assert one.requires_grad
            assert one.shape[0] == num_rows[task.head.name]
            torch.testing.assert_close(one.detach(), other, atol=5e-2, rtol=5e-2)
    assert frozen.num_encoded == 96 + 64 + 96


def test_a_second_run_with_other_heads_does_not_touch_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All states come from the cache, also for wider heads on fewer layers."""
    first, second = Silent(), Silent()
    shape = values(tmp_path)
    shape["heads"][1]["layers"] = [1, 2]
    learned(check_run(shape, source="test"), reporter=first)
    assert sum(line.startswith("encoding") for line in first.lines) == 2

    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "choose", refuse)
    for head in shape["heads"]:
        head |= {"hidden_size": 8, "layers": [2]}
    found = learned(check_run(shape, source="test"), reporter=second)
    assert isinstance(found.states, Frozen)
    assert found.states.num_encoded == 0
    assert not [line for line in second.lines if line.startswith("encoding")]


def test_another_encoder_or_other_texts_are_other_states(tmp_path: Path) -> None:
    """A changed encoder has another digest, so its states are computed again."""
    run = build_run(tmp_path)
    loaded = checkpoint.load(run.encoder)
    mood, _ = build_tasks(run, loaded)
    store = StateCache(tmp_path / "states", max_gigabytes=1)
    before = Frozen(loaded.encoder, "mean", store, Silent())
    old = before.read(mood, np.array([0]))
    with torch.no_grad():
        loaded.encoder.words.weight.neg_()
    after = Frozen(loaded.encoder, "mean", store, Silent())
    assert compute_digest(loaded.encoder, 2) != before._digest
    assert not torch.equal(after.read(mood, np.array([0]))[0], old[0])
    assert after.num_encoded == len(mood.examples)


def test_states_below_the_tuned_layers_are_computed_once(tmp_path: Path) -> None:
    """States and gradients agree with those of the whole encoder up to half precision."""
    shape = values(tmp_path)
    for head in shape["heads"]:
        head["layers"] = [0, 1, 2]
    run = check_run(shape, source="test")
    loaded = checkpoint.load(run.encoder)
    pooling, encoder = loaded.heads.sentence.pooling, loaded.encoder
    store, texts = StateCache(tmp_path / "states", max_gigabytes=1), np.array([5, 2, 60])
    lower = Frozen(encoder, pooling, store, Silent(), num_layers=1)
    learning = dict(encoder.named_parameters())["layers.1.expand.weight"]
    with torch.no_grad():
        # What learns has no part in what is kept.
        learning.add_(0.1)
    assert compute_digest(encoder, 1) == lower._digest
    whole, upper = (Live(encoder, pooling, dtype=torch.float32, lower=entry) for entry in (None, lower))
    for task in build_tasks(run, loaded):
        gradients = []
        for live in (whole, upper):
            states = live.read(task, texts)
            gradients.append(torch.autograd.grad(states[-1].square().mean(), learning)[0])
        for one, other in zip(whole.read(task, texts), upper.read(task, texts), strict=True):
            torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)
        torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-2)
    assert lower.num_encoded == 96 + 64


def test_vectors_are_held_against_those_of_the_encoder_before_it_learned(tmp_path: Path) -> None:
    """The drift is 0 at first, grows with changes to the encoder, and has gradients."""
    run = build_run(tmp_path)
    loaded = checkpoint.load(run.encoder)
    pooling, texts = loaded.heads.sentence.pooling, np.array([5, 2, 60])
    before = Frozen(copy.deepcopy(loaded.encoder), pooling, StateCache(tmp_path / "states", max_gigabytes=1), Silent())
    live = Live(loaded.encoder, pooling, dtype=torch.float32, before=before)
    for task in build_tasks(run, loaded):
        rows, drift = live.with_drift(task, texts)
        assert float(drift.detach()) == pytest.approx(0, abs=1e-4)
        for one, other in zip(rows, live.read(task, texts), strict=True):
            torch.testing.assert_close(one, other)
    with torch.no_grad():
        loaded.encoder.words.weight.neg_()
    drift = live.with_drift(build_tasks(run, loaded)[0], texts)[1]
    assert float(drift.detach()) > 0.01
    (gradient,) = torch.autograd.grad(drift, loaded.encoder.words.weight)
    assert gradient.abs().sum() > 0
    free = Live(loaded.encoder, pooling, dtype=torch.float32)
    assert float(free.with_drift(build_tasks(run, loaded)[0], texts)[1]) == 0

"""The strategies, on a tiny encoder: what learns, what does not, and from what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.training.runs import Silent, build_run, build_tasks, learned, values
from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.training.config import check_run
from worker.training.learning.learner import Learner
from worker.training.learning.strategies import build_phases
from worker.training.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from worker.training.learning.phases import Learned

pytestmark = pytest.mark.model


def changed(found: Learned, encoder: str) -> set[str]:
    """Return the parts of an encoder that learned: `words`, `layers.0`, and so on."""
    before = checkpoint.load(encoder).encoder.state_dict()
    after = found.learner.encoder.state_dict()
    return {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("strategy", ["frozen", "transfer", "trunk"])
def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path, strategy: str) -> None:
    """No weight of the encoder changes, and both heads learn."""
    run = build_run(tmp_path, strategy)
    found = learned(run)
    assert not found.is_encoder_tuned
    assert changed(found, run.encoder) == set()
    assert {name for epoch in found.position.history for name in epoch["dev"]} == {"mood", "ner"}


def test_end_to_end_everything_learns(tmp_path: Path) -> None:
    """The embeddings and all layers change, and both heads learn together."""
    run = build_run(tmp_path, "end-to-end", epochs=1)
    found = learned(run)
    assert found.is_encoder_tuned
    assert {"words.weight", "layers.0", "layers.1"} <= changed(found, run.encoder)
    assert set(found.position.history[0]["dev"]) == {"mood", "ner"}


def test_the_upper_layers_alone_may_learn(tmp_path: Path) -> None:
    """The layers below stay unchanged."""
    run = build_run(tmp_path, "end-to-end", upper_layers=1, epochs=1)
    assert changed(learned(run), run.encoder) == {"layers.1"}


def test_then_freeze_leaves_the_first_head_and_the_encoder_alone(tmp_path: Path) -> None:
    """In the second phase only the second head learns."""
    run = build_run(tmp_path, "then-freeze")
    found = learned(run)
    assert changed(found, run.encoder) >= {"words.weight", "layers.0", "layers.1"}
    assert [(epoch["phase"], set(epoch["dev"])) for epoch in found.position.history] == [(0, {"mood"})] * 3 + [(1, {"ner"})] * 3
    learner = found.learner
    learner.start_phase(run, build_phases(run)[1])
    learning = {name.split(".")[1] for name, parameter in learner.named_parameters() if parameter.requires_grad}
    assert learning == {"ner"}


def test_a_head_starts_from_another(tmp_path: Path) -> None:
    """Weights of the same shape are copied; the others are initialized."""
    run = build_run(tmp_path, "transfer")
    learner = learned(run).learner
    learner.start_phase(run, build_phases(run)[1])
    mood, ner = learner.head("mood").state_dict(), learner.head("ner").state_dict()
    assert {name for name in ner if torch.equal(ner[name], mood[name])} == set(ner) - {"output.weight", "output.bias"}


def test_heads_of_a_trunk_end_with_the_same_lower_layers(tmp_path: Path) -> None:
    """Both heads share the hidden layer and the norm during training."""
    found = learned(build_run(tmp_path, "trunk")).learner
    mood, ner = found.head("mood"), found.head("ner")
    assert mood.hidden is not None
    assert mood.hidden is ner.hidden
    assert mood.norm is ner.norm
    assert mood.output is not ner.output


def test_a_head_may_start_from_another_checkpoint(tmp_path: Path) -> None:
    """The named head must exist and read an encoder of the same width."""
    train(build_run(tmp_path, epochs=1), Silent())
    shape = values(tmp_path)
    place = str(tmp_path / "out")

    def starting_from(initial: str) -> Any:
        heads = [shape["heads"][0] | {"initial": initial}]
        return check_run(shape | {"heads": heads, "training": {"epochs": 1}}, source="test")

    learned(starting_from(f"{place}:mood"))
    with pytest.raises(BadSettings, match=r"no head 'none' to start from; it has mood, ner"):
        learned(starting_from(f"{place}:none"))
    with pytest.raises(BadModel, match=r"reads an encoder of 384 dimensions, and the head 'mood' one of 16"):
        learned(starting_from("package:worker/checkpoints/minilm:sentiment"))


def test_a_layer_that_is_not_there_stops_before_anything_learns(tmp_path: Path) -> None:
    """The error names the head, the layer and the number of layers."""
    shape = values(tmp_path)
    shape["heads"][0]["layers"] = [1, 7]
    with pytest.raises(BadModel, match=r"'mood' reads layer 7 of an encoder of 2 layers"):
        learned(check_run(shape, source="test"))


@pytest.mark.parametrize(
    "training",
    [{"loss_weights": "uncertainty"}, {"loss_weights": "inverse-size"}, {"sampling": "temperature"}, {"upper_layers": 1}],
)
def test_the_ways_against_imbalance_learn(tmp_path: Path, training: dict[str, Any]) -> None:
    """Each way gives other weights than training without one."""
    plain, other = (learned(build_run(tmp_path, "end-to-end", epochs=1, batch_texts=4, **entry)) for entry in ({}, training))
    assert not torch.equal(plain.learner.head("ner").output.weight, other.learner.head("ner").output.weight)


def test_retention_keeps_vectors_near(tmp_path: Path) -> None:
    """A larger weight gives a smaller drift of the vectors."""
    texts = np.arange(40)
    drifts = []
    for weight in (0.01, 100.0):
        found = learned(build_run(tmp_path, "end-to-end", epochs=2, retention_weight=weight))
        task = build_tasks(build_run(tmp_path), checkpoint.load(build_run(tmp_path).encoder))[0]
        with torch.no_grad():
            drifts.append(float(found.states.with_drift(task, texts)[1]))
    assert drifts[1] < drifts[0] / 4


def test_rates_fall_with_depth_and_heads_have_their_own(tmp_path: Path) -> None:
    """One-dimensional weights have no decay, and a head may have its own rate and decay."""
    shape = values(tmp_path, "end-to-end")
    shape["heads"][0] |= {"learning_rate": 0.5, "weight_decay": 0.3}
    shape["optimizer"] = {"encoder_rate": 1.0, "layer_decay": 0.5, "head_rate": 0.25, "weight_decay": 0.1}
    run = check_run(shape, source="test")
    loaded = checkpoint.load(run.encoder)
    learner = Learner(loaded.encoder, build_tasks(run, loaded))
    (phase,) = build_phases(run)
    learner.start_phase(run, phase)
    groups = learner.build_parameter_groups(run, phase)
    rates = {(group["lr"], group["weight_decay"]) for group in groups}
    assert rates == {(0.5, 0.3), (0.5, 0.0), (0.25, 0.1), (0.25, 0.0), (1.0, 0.1), (1.0, 0.0), (0.5, 0.1)}
    learning = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in groups) == len(learning)

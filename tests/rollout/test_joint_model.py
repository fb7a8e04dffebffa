"""Several encoders as one model, alone and in a rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fakes import FakeModel
from tests.makers import record
from worker.observability.metrics import WorkerTelemetry
from worker.parts import split_item
from worker.records import Item, Task, TokenizedItem
from worker.rollout.joint_model import JointModel
from worker.rollout.plan import RolloutPlan
from worker.rollout.router import RolloutRouter, SingleModel

if TYPE_CHECKING:
    from pathlib import Path

ALL, EMBED = frozenset(Task), frozenset({Task.EMBED})


def named(name: str) -> FakeModel:
    """Return an encoder with a name."""
    model = FakeModel()
    model.name = f"{name}@1"
    return model


def join(embedder: FakeModel, other: FakeModel) -> JointModel:
    """Return a model whose first encoder embeds."""
    return JointModel([(embedder, EMBED), (other, ALL - EMBED)], max_passes=2)


def items(*tasks: frozenset[Task]) -> list[Item]:
    """Return an item for each set of tasks, at the offsets from 0."""
    return [Item(record(offset), f"id-{offset}", "a b", own) for offset, own in enumerate(tasks)]


def test_a_joint_model_answers_as_its_encoders() -> None:
    """A record costs a pass of each encoder that its tasks need, and no other."""
    first, second = named("first"), named("second")
    models = SingleModel(join(first, second))
    wanted = items(ALL, EMBED, frozenset({Task.NER}))
    tokens = models.tokenize(wanted)
    assert [own.model for own in tokens] == ["first@1,second@1", "first@1", "second@1"]
    predictions = models.infer(list(map(TokenizedItem, wanted, tokens)))
    assert (first.passes, second.passes) == ([2], [2])
    assert [(found.embedding is None, found.labels is None, found.entities is None) for found in predictions] == [
        (False, False, False),
        (False, True, True),
        (True, True, False),
    ]
    assert (models.num_encoders, models.max_passes, models.name_for(wanted[0].record)) == (2, 2, "first@1,second@1")
    assert SingleModel(first).num_encoders == 0


def test_a_text_is_tokenized_for_all_encoders() -> None:
    tokens = join(named("first"), named("second")).tokenize(["a b c"])[0]
    assert (tokens.model, tokens.weight) == ("first@1,second@1", 6)


def test_equal_tokenizers_tokenize_a_text_once() -> None:
    """A text without the first task is tokenized by the second encoder, and each encoder reads a prompt with its own tokenizer."""
    first, second, other = named("first"), named("second"), named("other")
    calls = list[tuple[str, list[str]]]()
    for model in (first, second, other):
        model.on_tokenize = lambda texts, name=model.name: calls.append((name, list(texts)))  # type: ignore[misc]  # its default
    tasks = frozenset({Task.NER}), frozenset({Task.CLASSIFY})
    joint = JointModel([(first, EMBED), (second, tasks[0]), (other, tasks[1])], max_passes=2, tokenizers=[0, 0, 2])
    wanted = [replace(item, text=f"text {number}") for number, item in enumerate(items(ALL, tasks[0], EMBED))]
    tokens = joint.tokenize_items(wanted)
    assert calls == [("first@1", ["text 0", "text 2"]), ("second@1", ["text 1"]), ("other@1", ["text 0"])]
    parts = [[part.tokens.model for part in split_item(TokenizedItem(*pair))] for pair in zip(wanted, tokens, strict=True)]
    assert parts == [["first@1", "second@1", "other@1"], ["second@1"], ["first@1"]]
    calls.clear()
    joint.tokenize(["a"], "query")
    assert [name for name, _ in calls] == ["first@1", "second@1", "other@1"]


async def test_an_encoder_of_two_models_is_found_after_a_rollout(tmp_path: Path) -> None:
    """A step replaces one encoder of two, and the next step has one encoder for all tasks."""
    shared, loaded = named("shared"), list[str]()
    models: dict[str, JointModel | FakeModel] = {"shared,new": join(shared, named("new")), "single": named("single")}

    def load(reference: str) -> JointModel | FakeModel:
        loaded.append(reference)
        return models[reference]

    steps = [("shared,new", 1), ("single", 2)]
    plan = "".join(f'[[step]]\nmodel = "{model}"\nfrom = {{ 0 = {offset} }}\n' for model, offset in steps)
    (tmp_path / "rollout.toml").write_text(plan)
    telemetry, first = WorkerTelemetry(), join(shared, named("old"))
    router = RolloutRouter(
        tmp_path / "rollout.toml", RolloutPlan("shared,old", "texts"), first, load=load, telemetry=telemetry, unload_after_s=0.0
    )
    await router.start()
    wanted = items(ALL, ALL, ALL)
    tokens = router.tokenize(wanted)
    assert [own.model for own in tokens] == ["shared@1,old@1", "shared@1,new@1", "single@1"]
    for name in ("shared@1", "old@1", "new@1", "single@1"):
        assert telemetry.registry.get_sample_value("gist_model_info", {"model": name}) == 1
    # The model with the encoder `new`, which was the last to have the encoder `shared`, is unloaded.
    router._unload_unused({"shared,old", "single"}, 0.0)
    loaded.clear()
    parts = [part for index in (0, 2) for part in split_item(TokenizedItem(wanted[index], tokens[index]))]
    assert [part.tokens.model for part in parts] == ["shared@1", "old@1", "single@1"]
    assert not any(prediction.failures for prediction in router.infer(parts))
    assert not loaded
    assert router.num_encoders == 2


async def test_the_model_of_the_newest_record_is_first_also_if_the_record_needs_one_encoder_of_it(tmp_path: Path) -> None:
    shared, second = named("shared"), join(named("new"), named("other"))
    (tmp_path / "rollout.toml").write_text('[[step]]\nmodel = "new,other"\nfrom = { 0 = 1 }\n')
    router = RolloutRouter(
        tmp_path / "rollout.toml",
        RolloutPlan("shared,old", "texts"),
        join(shared, named("old")),
        load=lambda _reference: second,
        telemetry=WorkerTelemetry(),
    )
    await router.start()
    router.tokenize(items(ALL, EMBED))
    assert router.list_loaded()[0] is second

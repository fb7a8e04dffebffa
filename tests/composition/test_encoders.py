"""A value of `GIST_MODEL` with several models: which tasks each of them serves, and what does not fit together."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from worker.composition.encoders import check_encoders, find_tasks, parse_model
from worker.errors import BadModel, BadSettings
from worker.records import Task
from worker.settings import DEFAULT_MODEL, read

EMBED, CLASSIFY, NER = Task.EMBED, Task.CLASSIFY, Task.NER


def engine(name: str, **heads: Task) -> Any:
    """Return an engine that embeds unless it has heads, which are given by name."""
    return SimpleNamespace(
        name=f"{name}@1",
        tasks=frozenset(heads.values()) or frozenset({EMBED}),
        list_heads=lambda tasks: [head for head, task in heads.items() if task in tasks],
    )


def check(model: str, *engines: Any, tasks: str = "") -> list[frozenset[Task]]:
    """Return the tasks that each engine serves."""
    return check_encoders(read({"model": model, "tasks": tasks}), parse_model(model), engines)


def test_each_model_serves_its_own_tasks() -> None:
    """`#` chooses tasks of a model, and `GIST_TASKS` those of the worker."""
    whole = SimpleNamespace(**vars(engine("whole", moods=CLASSIFY)) | {"tasks": frozenset(Task)})
    assert check("a,b", engine("a"), engine("b", names=NER, moods=CLASSIFY)) == [{EMBED}, {NER, CLASSIFY}]
    assert check("a, b#classify+ner", engine("a"), whole) == [{EMBED}, {CLASSIFY, NER}]
    assert check("a,b,c", engine("a"), engine("b", names=NER), engine("c", moods=CLASSIFY)) == [{EMBED}, {NER}, {CLASSIFY}]
    assert check("a,b", engine("a", names=NER), engine("b", places=NER, moods=CLASSIFY), tasks="ner") == [{NER}, {NER}]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("a,", "there is no model before or after a comma"),
        ("a,b,a", "a is named twice"),
        ("a#embed", "set GIST_TASKS for one model"),
        ("a,b#sing", "the tasks after # are embed, classify, ner, joined by +"),
        ("a,b#", "the tasks after # are embed, classify, ner, joined by +"),
    ],
)
def test_a_value_that_names_no_models_is_refused(model: str, reason: str) -> None:
    with pytest.raises(BadSettings, match=re.escape(reason)):
        parse_model(model)


@pytest.mark.parametrize(
    ("engines", "model", "tasks", "reason"),
    [
        ((engine("a"), engine("b")), "a,b", "", "a and b both give embeddings: choose the tasks of one of them"),
        ((engine("a", names=NER), engine("b", names=NER)), "a,b", "", "a@1 and b@1 both have a head with the name names"),
        ((engine("a"), engine("b", names=NER)), "a,b#classify", "", "the model b@1 has no head for classify"),
        ((engine("a"), engine("b", names=NER)), "a,b", "embed", "no task of the model b@1 is served"),
        ((engine("a"), engine("b", names=NER)), "a,b", "embed,ner,classify", "no model of GIST_MODEL has a head for classify"),
        ((engine("a"), engine("a", names=NER)), "x/a,y/a", "", "GIST_MODEL names the model a@1 twice"),
    ],
)
def test_models_that_do_not_fit_together_are_refused(engines: tuple[Any, ...], model: str, tasks: str, reason: str) -> None:
    with pytest.raises(BadSettings, match=re.escape(reason)):
        check(model, *engines, tasks=tasks)


def test_the_prompt_belongs_to_the_model_that_embeds() -> None:
    """Without a prompt, no file of a model is read before the model is loaded."""
    settings = read({"prompt": "passage: ", "embedding_dimensions": 64, "tasks": "ner"})
    embedder, tagger = parse_model(f"{DEFAULT_MODEL},{DEFAULT_MODEL}x#ner")
    adapted = embedder.adapt(settings)
    assert (adapted.model, adapted.prompt, adapted.embedding_dimensions) == (DEFAULT_MODEL, "passage: ", 64)
    assert not adapted.tasks
    assert (tagger.adapt(settings).prompt, tagger.adapt(settings).embedding_dimensions) == ("", 0)
    missing = parse_model(f"{DEFAULT_MODEL},./nowhere")[1]
    assert missing.adapt(read()).model == "./nowhere"
    with pytest.raises(BadModel, match="nowhere: no such directory"):
        missing.adapt(settings)


def test_the_tasks_of_several_models_are_known_before_they_load() -> None:
    """They are unknown if one of the models is not on this machine."""
    assert find_tasks(DEFAULT_MODEL) == frozenset(Task)
    assert find_tasks("./nowhere#ner,./elsewhere#embed") == frozenset({NER, EMBED})
    assert find_tasks(f"{DEFAULT_MODEL},./nowhere") is None

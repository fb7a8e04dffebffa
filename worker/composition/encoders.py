"""Reads a value of `GIST_MODEL`, which names one model or several, and checks that several fit together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.errors import BadSettings
from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.model.engine import Engine
    from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class EncoderReference:
    """A model of `GIST_MODEL`, written `reference` or `reference#task+task`."""

    reference: str
    #: The tasks after `#`; empty for all tasks of the model.
    tasks: frozenset[Task]

    def adapt(self, settings: Settings) -> Settings:
        """Return the settings for this model alone: prompt and dimensions belong to the model of the embeddings."""
        own: dict[str, Any] = {"model": self.reference, "tasks": frozenset()}
        if (settings.prompt or settings.embedding_dimensions) and Task.EMBED not in self.find_tasks():
            own |= {"prompt": "", "embedding_dimensions": 0}
        return settings.model_copy(update=own)

    def find_tasks(self) -> frozenset[Task]:
        """Return the tasks of the model, without loading its weights. Raises `BadModel` if there is no such model."""
        from worker.model.checkpoint.references import locate  # noqa: PLC0415  slow
        from worker.model.served import read_tasks  # noqa: PLC0415  slow

        return self.tasks or read_tasks(str(locate(self.reference).directory)) or frozenset(Task)


def parse_model(value: str) -> list[EncoderReference]:
    """Return the models that a value of `GIST_MODEL` names. Raises `BadSettings`."""
    encoders = [_parse_one(reference.strip(), is_alone="," not in value) for reference in value.split(",")]
    for encoder in encoders:
        if not encoder.reference:
            raise BadSettings(f"GIST_MODEL: {value}: there is no model before or after a comma")
        if sum(other.reference == encoder.reference for other in encoders) > 1:
            raise BadSettings(f"GIST_MODEL: {encoder.reference} is named twice")
    return encoders


def _parse_one(text: str, *, is_alone: bool) -> EncoderReference:
    reference, mark, names = text.partition("#")
    if not mark:
        return EncoderReference(text, frozenset())
    if is_alone:
        raise BadSettings(f"GIST_MODEL: {text}: tasks after # are for several models; set GIST_TASKS for one model")
    try:
        return EncoderReference(reference, frozenset(map(Task, names.split("+"))))
    except ValueError:
        raise BadSettings(f"GIST_MODEL: {text}: the tasks after # are {', '.join(Task)}, joined by +") from None


def check_encoders(settings: Settings, encoders: Sequence[EncoderReference], engines: Sequence[Engine]) -> list[frozenset[Task]]:
    """Return the tasks that each engine serves. Raises `BadSettings` if a task or a head belongs to no engine or to two."""
    chosen = [encoder.tasks or engine.tasks for encoder, engine in zip(encoders, engines, strict=True)]
    asked = frozenset(map(Task, settings.tasks)) or frozenset().union(*chosen)
    served = [tasks & asked for tasks in chosen]
    if missing := asked - frozenset().union(*chosen):
        raise BadSettings(f"GIST_TASKS: no model of GIST_MODEL has a head for {', '.join(sorted(missing))}")
    for engine, own, tasks in zip(engines, chosen, served, strict=True):
        if missing := own - engine.tasks:
            raise BadSettings(f"GIST_MODEL: the model {engine.name} has no head for {', '.join(sorted(missing))}")
        if not tasks:
            raise BadSettings(f"GIST_TASKS: no task of the model {engine.name} is served: remove the model from GIST_MODEL")
    _check_embedders(encoders, served)
    owners: dict[str, str] = {}
    for engine, tasks in zip(engines, served, strict=True):
        for head in engine.list_heads(tasks):
            if head in owners:
                raise BadSettings(
                    f"GIST_MODEL: {owners[head]} and {engine.name} both have a head with the name {head}: "
                    "give one another name with `gist-stream import --name`, or choose tasks, as in `model#embed`"
                )
            owners[head] = engine.name
    if len({engine.name for engine in engines}) < len(engines):
        raise BadSettings(f"GIST_MODEL names the model {engines[0].name} twice")
    return served


def _check_embedders(encoders: Sequence[EncoderReference], served: Sequence[frozenset[Task]]) -> None:
    embedders = [encoder for encoder, tasks in zip(encoders, served, strict=True) if Task.EMBED in tasks]
    if len(embedders) > 1:
        first, second, *_ = embedders
        raise BadSettings(
            f"GIST_MODEL: {first.reference} and {second.reference} both give embeddings: choose the tasks of one of them, "
            f"as in `{second.reference}#classify+ner`"
        )


def find_tasks(value: str) -> frozenset[Task] | None:
    """Return the tasks of the models of a value of `GIST_MODEL`, without loading them; None if one is not on this machine."""
    from worker.model.served import read_tasks  # noqa: PLC0415  slow

    found = [encoder.tasks or read_tasks(encoder.reference) for encoder in parse_model(value)]
    return None if None in found else frozenset().union(*(tasks for tasks in found if tasks))

"""The readiness of a worker names the registry that its records wait for."""

from __future__ import annotations

from typing import Any

from worker.commands.run.run import Health


class Waiting:
    """The schemas, or the pipeline, of a worker."""

    is_ready = True
    problem: str | None = "registry:8081 does not answer: refused"


def test_a_worker_whose_records_wait_for_the_registry_is_not_ready() -> None:
    """The reason is that of the registry, until it answers; a worker without a registry has no such reason."""
    waiting: Any = Waiting()
    health = Health(pipeline=waiting)
    assert health.describe_wait() is None
    health.schemas = waiting
    assert health.describe_wait() == "the schema registry: registry:8081 does not answer: refused"
    waiting.problem = None
    assert health.describe_wait() is None

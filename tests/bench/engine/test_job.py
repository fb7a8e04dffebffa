"""A job travels as JSON."""

from __future__ import annotations

import json

from worker.bench.engine.job import Batching, Job


def test_a_job_survives_json() -> None:
    """Every field is the same afterwards."""
    batching = Batching(1, 2, 3, 4)
    job = Job(role="gist_engine", model="m", corpora={"a": "b"}, threads=2, batching=batching, backend="int8", is_sorted=True)
    assert Job.from_json(json.loads(json.dumps(job.as_json()))) == job

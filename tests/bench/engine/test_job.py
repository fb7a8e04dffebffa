"""A job travels as JSON."""

from __future__ import annotations

import json

from worker.bench.engine.job import Batching, Job


def test_a_job_comes_out_as_it_went_in() -> None:
    """Every field."""
    job = Job(role="ours", model="m", corpora={"a": "b"}, threads=2, batching=Batching(1, 2, 3, 4), way="int8", is_sorted=True)
    assert Job.of(json.loads(json.dumps(job.as_json()))) == job

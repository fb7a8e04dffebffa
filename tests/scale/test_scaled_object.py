"""The replicas that KEDA's ScaledObject asks for, by load and backlog."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import yaml

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes" / "components" / "keda" / "scaledobject.yaml"
SPEC = yaml.safe_load(MANIFEST.read_text())["spec"]
TRIGGER = SPEC["triggers"][0]["metadata"]
DOWN = SPEC["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
#: Tokens per second of one replica.
CAPACITY = 10_000.0


def count_wanted(tokens_per_s: float, backlog_tokens: float) -> int:
    """Return the replicas for the group's throughput and backlog, computed with the query and the threshold of the manifest."""
    values = {
        r"sum\(rate\(gist_tokens_total\{[^}]*\}\[2m\]\)\)": tokens_per_s,
        r"sum\(gist_backlog_tokens\{[^}]*\}\)": backlog_tokens,
        r"avg\(gist_capacity_tokens_per_second\{[^}]*\}\)": CAPACITY,
    }
    query = TRIGGER["query"]
    for pattern, value in values.items():
        query, count = re.subn(pattern, repr(value), query)
        assert count == 1, f"{pattern} is not once in the query: adapt the test\n{query}"
    assert re.fullmatch(r"[\d.\s()+*/e-]+", query)
    desired: float = eval(query) / float(TRIGGER["threshold"])  # noqa: S307  numbers and operators, as asserted
    least, most = int(SPEC["minReplicaCount"]), int(SPEC["maxReplicaCount"])
    return max(least, min(most, math.ceil(desired - 1e-9)))


@pytest.mark.parametrize(
    ("tokens_per_s", "backlog_tokens", "expected"),
    [
        (0.0, 0.0, SPEC["minReplicaCount"]),
        (3.5 * CAPACITY, 0.0, 5),
        (3.5 * CAPACITY, 60 * 0.7 * CAPACITY, 6),
        (0.0, 60 * 2.1 * CAPACITY, 3),
        (1e9, 1e9, SPEC["maxReplicaCount"]),
    ],
    ids=["idle", "70 % utilization without a backlog", "a backlog of a minute of one replica", "a backlog alone", "any load"],
)
def test_replicas_keep_up_and_drain_the_backlog_within_a_minute(tokens_per_s: float, backlog_tokens: float, expected: int) -> None:
    """Each replica is planned at 70 % of its capacity, within the bounds of the manifest."""
    assert count_wanted(tokens_per_s, backlog_tokens) == expected


def test_a_scale_down_is_slow() -> None:
    """One replica leaves at a time after a quiet quarter of an hour: each step is a rebalance."""
    assert DOWN["stabilizationWindowSeconds"] == 900
    assert DOWN["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 300}]

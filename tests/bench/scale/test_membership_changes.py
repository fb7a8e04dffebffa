"""The groups whose changes are measured."""

from __future__ import annotations

from worker.bench.scale.choices import KINDS, PROTOCOLS
from worker.bench.scale.membership_changes import build_group_runs


def test_each_group_is_changed_with_each_protocol_and_with_long_passes() -> None:
    """A rolling restart has groups of its own, one with static members."""
    runs = build_group_runs(KINDS[::-1], PROTOCOLS, "exactly_once")
    assert [(run.kinds, run.protocol, run.pass_s, run.is_static) for run in runs] == [
        (("quiet", "join", "leave", "kill"), "classic", 0.0, False),
        (("quiet", "join", "leave", "kill"), "consumer", 0.0, False),
        (("quiet", "join", "leave", "kill"), "classic", 1.0, False),
        (("quiet", "join", "leave", "kill"), "consumer", 1.0, False),
        (("rolling",), "classic", 0.0, False),
        (("rolling",), "consumer", 0.0, False),
        (("rolling",), "classic", 0.0, True),
        (("rolling",), "consumer", 0.0, True),
    ]
    assert runs[3].name("join") == "join, passes of 1 s, consumer protocol, exactly once"
    assert runs[7].name("rolling") == "rolling, static members, consumer protocol, exactly once"
    assert (
        build_group_runs(["rolling"], PROTOCOLS, "at_least_once")[0].name("rolling") == "rolling, classic protocol, at least once"
    )

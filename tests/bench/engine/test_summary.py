"""The summary: of the chosen way, on GIST's shape and the mixture."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.bench.results import result
from worker.bench.engine.summary import as_json, best_padded, summary


def test_the_summary_is_about_the_chosen_way() -> None:
    """Against who pads, the bare products and fp32."""
    found = summary(result())
    assert found["way"] == "compiled"
    assert (found["vs_first_written"], found["vs_best_padded"], found["roofline_fraction"]) == (10.0, 2.0, 0.5)
    assert (found["messages_per_s"], found["fill"], found["min_cosine_to_fp32"]) == (100.0, 0.5, 0.998)
    assert (found["int8_vs_bf16"], found["int8_min_cosine"], found["heads_share"]) == (1.5, 0.99, 0.03)


def test_what_was_not_measured_is_none() -> None:
    """Its key stays."""
    found = summary(replace(result(), panels=[], exactness={}, heads={}))
    assert found.keys() == summary(result()).keys()
    assert set(found.values()) == {None}


def test_the_best_of_those_that_pad_is_the_fastest() -> None:
    """One without numbers never is."""
    best = best_padded(result().panels[0])
    assert best is not None
    assert best.name == "best"


def test_the_whole_run_is_plain_values() -> None:
    """With the summary as an object of its own."""
    plain = json.loads(json.dumps(as_json(result())))
    assert plain.keys() == {"summary", "machine", "is_quick", "left_out", "panels", "exactness", "heads", "seconds"}
    assert plain["summary"] == summary(result())

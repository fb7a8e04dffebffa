"""The rollout plan selects the model of a record from the position of the record and from the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import BadSettings
from worker.records import Partition, Record, UnreadableRange
from worker.rollout.plan import RolloutPlan

FIRST_MS = 1_700_000_000_000
THERE_AND_BACK = """
[[step]]
model = "b"
from = { 0 = 10, 1 = 20 }

[[step]]
model = "a"
from = { 0 = 15 }
"""


def at(offset: int, partition: int = 0, *, timestamp_ms: int = -1) -> Record:
    """Return a record at a position."""
    return Record(Partition("texts", partition), offset, None, b"", (), timestamp_ms)


def test_a_step_begins_at_its_offset_of_each_partition() -> None:
    """The step begins exactly at the offset; partitions that a step does not name keep their model."""
    plan = RolloutPlan("a", "texts").with_steps(THERE_AND_BACK)
    assert [plan.candidates(at(offset))[0] for offset in (0, 9, 10, 14, 15, 99)] == ["a", "a", "b", "b", "a", "a"]
    assert [plan.candidates(at(offset, 1))[0] for offset in (0, 19, 20, 99)] == ["a", "a", "b", "b"]
    assert plan.candidates(at(99, 2)) == ["a"]


def test_a_step_may_begin_at_a_moment() -> None:
    """The timestamp of the record counts; unreadable ranges and records without a timestamp keep the earlier model."""
    plan = RolloutPlan("a", "texts").with_steps('[[step]]\nmodel = "b"\nfrom = 2023-11-14T22:13:20Z\n')
    assert [plan.candidates(at(0, timestamp_ms=moment_ms))[0] for moment_ms in (-1, FIRST_MS - 1, FIRST_MS)] == ["a", "a", "b"]
    assert plan.candidates(UnreadableRange(Partition("texts", 0), 0, 9, "E", "m")) == ["a"]
    assert (
        RolloutPlan("a", "texts")
        .with_steps('[[step]]\nmodel = "b"\nfrom = 2023-11-14T22:13:20\n')
        .candidates(at(0, timestamp_ms=FIRST_MS))[0]
        == "b"
    )


def test_offsets_are_those_of_one_topic() -> None:
    """Offsets without a topic are those of the input topic; a moment applies to every topic."""
    elsewhere = Record(Partition("old", 0), 50, None, b"", (), FIRST_MS)
    plan = RolloutPlan("a", "texts").with_steps(THERE_AND_BACK)
    assert plan.candidates(elsewhere) == ["a"]
    assert plan.models_from(Partition("old", 0), 0) == {"a"}
    named = RolloutPlan("a", "texts").with_steps('[[step]]\nmodel = "b"\ntopic = "old"\nfrom = { 0 = 50 }\n')
    assert [named.candidates(source)[0] for source in (elsewhere, at(50))] == ["b", "a"]
    moment = RolloutPlan("a", "texts").with_steps('[[step]]\nmodel = "b"\nfrom = 2023-11-14T22:13:20Z\n')
    assert moment.candidates(elsewhere)[0] == "b"


def test_if_a_model_cannot_be_loaded_the_one_before_it_is_next() -> None:
    """The model of the settings is the last candidate."""
    assert RolloutPlan("a", "texts").with_steps(THERE_AND_BACK.replace('"a"', '"c"')).candidates(at(15)) == ["c", "b", "a"]


steps = st.lists(st.tuples(st.sampled_from("abc"), st.dictionaries(st.integers(0, 2), st.integers(0, 20))), max_size=4)


@given(steps=steps, partition=st.integers(0, 2), offset=st.integers(0, 25))
def test_a_model_stays_loaded_while_a_later_record_needs_it(
    steps: list[tuple[str, dict[int, int]]], partition: int, offset: int
) -> None:
    """The needed models include the model of each later record."""
    text = "".join(f'[[step]]\nmodel = "{m}"\nfrom = {{ {", ".join(f"{p} = {o}" for p, o in at_.items())} }}\n' for m, at_ in steps)
    plan = RolloutPlan("first", "texts").with_steps(text)
    needed = {plan.candidates(at(later, partition))[0] for later in range(offset, 30)}
    assert needed <= plan.models_from(Partition("texts", partition), offset) <= plan.models


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[step", "the file is not TOML"),
        ('[[step]]\nmodel = "b"\n', r"step\.0\.from"),
        ('[[step]]\nmodel = ""\nfrom = {}\n', r"step\.0\.model"),
        ('[[step]]\nmodel = "b"\nfrom = { 0 = -1 }\n', r"step\.0\.from"),
        ('[[steps]]\nmodel = "b"\nfrom = {}\n', "steps: there is no such key"),
    ],
)
def test_a_file_that_cannot_be_a_plan_is_refused_in_one_line(text: str, words: str) -> None:
    """The line contains the position in the file."""
    with pytest.raises(BadSettings, match=words) as caught:
        RolloutPlan("a", "texts").with_steps(text)
    assert "\n" not in str(caught.value).splitlines()[0]


def test_no_file_is_no_plan() -> None:
    """Every record goes to the model of the settings."""
    assert RolloutPlan("a", "texts").with_steps("") == RolloutPlan("a", "texts")


def test_a_step_with_offsets_names_one_of_several_topics() -> None:
    with pytest.raises(BadSettings, match="names no topic, and the worker reads several topics"):
        RolloutPlan("a", None).with_steps(THERE_AND_BACK)

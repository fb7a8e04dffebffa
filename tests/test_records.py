"""The types of records, messages and outcomes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.makers import outcome, record, tokenized
from worker.batches import Batch
from worker.records import OUTPUT_OF_TASK, SPLIT_OUTPUTS, TASK_OF_OUTPUT, Message, Output, Task


def test_the_offset_to_commit_is_the_next_one() -> None:
    assert record(41).next_offset == 42
    assert outcome(record(41)).next_offset == 42


def test_tasks_and_outputs_map_to_each_other() -> None:
    """Only the dead letters are the output of no task."""
    assert set(OUTPUT_OF_TASK) == set(Task)
    assert {output: TASK_OF_OUTPUT[output] for output in OUTPUT_OF_TASK.values()} == TASK_OF_OUTPUT
    assert set(SPLIT_OUTPUTS) - set(TASK_OF_OUTPUT) == {Output.DEAD_LETTERS}


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40))
def test_the_halves_of_a_batch_have_its_items_in_order(weights: list[int]) -> None:
    """No half is empty."""
    batch = Batch(tuple(tokenized(n, weight) for n, weight in enumerate(weights)))
    left, right = batch.halves()
    assert left.items + right.items == batch.items
    assert left.items
    assert right.items
    assert left.num_tokens + right.num_tokens == sum(weights)


def test_sizes_are_in_bytes() -> None:
    """The size of a message includes its headers."""
    assert record(1, "é".encode()).size_bytes == len(b"key-1") + 2
    assert Message(Output.LABELS, b"kk", b"vvv", (("é", b"12"),)).size_bytes == 2 + 3 + 2 + 2
    assert Message(Output.LABELS, None, None).size_bytes == 0


def test_a_truncated_text_has_no_windows() -> None:
    """The text has at most the given number of tokens."""
    whole = tokenized(0, 9).tokens
    beginning = whole.truncate(4)
    assert (len(beginning), len(beginning.spans), len(beginning.words), beginning.weight) == (4, 4, 4, 4)
    assert (beginning.truncated, beginning.model) == (True, whole.model)
    assert len(whole.truncate(20)) == 9

"""A record's number says everything, and the codec agrees."""

from __future__ import annotations

import pytest

from tests.faults.lab.program import LabModel
from tests.faults.lab.workload import DIM, Poison, Workload
from worker.records import Item, Partition, Record, Task, TokenizedItem
from worker.wire.decode import Limits, decode
from worker.wire.encode import EmbeddingEncoding, encode

WORKLOAD = Workload(num_partitions=3, poison_every=4)


@pytest.mark.parametrize("number", [0, 1, 12, 4_712, 1_000_000])
def test_the_expected_outputs_are_what_the_worker_writes(number: int) -> None:
    """The expected outputs equal the messages of the worker byte for byte."""
    partition, offset = WORKLOAD.place(number)
    record = Record(Partition("t", partition), offset, b"%d" % number, WORKLOAD.value(number))
    item = decode(record, limits=Limits(), tasks=frozenset(Task))
    assert isinstance(item, Item)
    model = LabModel(0)
    tokenized = TokenizedItem(item, model.tokenize([item.text])[0])
    (prediction,) = model.infer([tokenized])
    outcome = encode(tokenized, prediction, model_name="fake", encoding=EmbeddingEncoding.FLOAT, limits=Limits())
    assert len(outcome.messages) == 3
    for message in outcome.messages:
        assert message.value == WORKLOAD.expected(message.output, number)
    assert prediction.embedding is not None
    assert len(prediction.embedding) == DIM


def test_every_fourth_text_is_poisoned_in_turn() -> None:
    """The expected outputs follow from the kind of poison."""
    assert [WORKLOAD.find_poison(number) for number in range(3, 16, 4)] == [Poison.RAISE, Poison.MEMORY, Poison.NAN, Poison.RAISE]
    assert WORKLOAD.find_poison(4) is None
    assert WORKLOAD.fates(12)[:, [0, 3, 11]].T.tolist() == [[1, 1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1]]


def test_records_are_spread_over_the_partitions_in_order() -> None:
    """Each of the three partitions has every third record."""
    assert [WORKLOAD.place(number) for number in range(5)] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]

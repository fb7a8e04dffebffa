"""The audit counts lost and repeated outputs."""

from __future__ import annotations

from worker.records import Output, Partition, Record
from worker.testbed.delivery_audit import DeliveryAudit, read_source


def output(offset: int, *, partition: int = 0) -> Record:
    """Return a record of an output topic."""
    headers = (("gist-source-partition", b"%d" % partition), ("gist-source-offset", b"%d" % offset))
    return Record(Partition("texts.out", 9), 1000 + offset, None, b"{}", headers)


def test_a_record_is_accounted_for_with_all_outputs_or_a_dead_letter() -> None:
    """Two of three outputs are not enough."""
    audit = DeliveryAudit(num_produced=3)
    for result in (Output.EMBEDDINGS, Output.LABELS):
        audit.note(result, output(0))
    assert audit.num_missing == 3
    audit.note(Output.ENTITIES, output(0))
    audit.note(Output.DEAD_LETTERS, output(1))
    assert (audit.num_accounted, audit.num_missing, audit.num_dead_letters) == (2, 1, 1)


def test_repeated_outputs_are_counted() -> None:
    """The same offset in another partition is another record."""
    audit = DeliveryAudit(num_produced=2)
    for partition in (0, 1):
        for result in (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES):
            audit.note(result, output(0, partition=partition))
    assert (audit.num_duplicates, audit.num_missing) == (0, 0)
    audit.note(Output.LABELS, output(0))
    assert (audit.num_duplicates, audit.num_accounted, audit.num_repeated_records) == (1, 2, 1)


def test_the_source_comes_from_the_headers() -> None:
    """The partition and offset of the output do not matter."""
    assert read_source(output(7, partition=3)) == (3, 7)

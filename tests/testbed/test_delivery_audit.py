"""The account: none lost, none twice, by whatever came out."""

from __future__ import annotations

from worker.records import Output, Partition, Record
from worker.testbed.delivery_audit import DeliveryAudit, read_source


def output(offset: int, *, partition: int = 0) -> Record:
    """Return a message of an output topic."""
    headers = (("gist-source-partition", b"%d" % partition), ("gist-source-offset", b"%d" % offset))
    return Record(Partition("texts.out", 9), 1000 + offset, None, b"{}", headers)


def test_a_record_is_accounted_for_with_all_outputs_or_a_dead_letter() -> None:
    """Nothing less."""
    account = DeliveryAudit(num_produced=3)
    for it in (Output.EMBEDDINGS, Output.LABELS):
        account.note(it, output(0))
    assert account.num_missing == 3
    account.note(Output.ENTITIES, output(0))
    account.note(Output.DEAD_LETTERS, output(1))
    assert (account.num_accounted, account.num_missing, account.num_dead_letters) == (2, 1, 1)


def test_what_comes_again_is_counted() -> None:
    """By output; partitions are told apart."""
    account = DeliveryAudit(num_produced=2)
    for partition in (0, 1):
        for it in (Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES):
            account.note(it, output(0, partition=partition))
    assert (account.num_duplicates, account.num_missing) == (0, 0)
    account.note(Output.LABELS, output(0))
    assert (account.num_duplicates, account.num_accounted, account.num_repeated_records) == (1, 2, 1)


def test_the_place_of_the_input_is_in_the_headers() -> None:
    """Not where the output stands."""
    assert read_source(output(7, partition=3)) == (3, 7)

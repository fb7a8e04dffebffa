"""The probe of a cluster: what it refuses, and the setting to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import KafkaError

from worker.broker.admin import topics as admin
from worker.broker.connection.connection import Connection
from worker.broker.delivery import probe
from worker.broker.delivery.probe import probe_delivery
from worker.broker.tools.clients import read_to_end
from worker.errors import BrokerUnavailable
from worker.records import Partition

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        (lambda compression, _id: compression == "zstd", "without zstd: set GIST_COMPRESSION to gzip or none"),
        (lambda _compression, transactional_id: transactional_id, "without a transaction: set GIST_DELIVERY=at_least_once"),
        (lambda _compression, _id: True, "give its user the right to write to out, dlq"),
    ],
    ids=["compression", "transactions", "everything"],
)
async def test_the_refused_part_is_named(monkeypatch: pytest.MonkeyPatch, refuses: object, words: str) -> None:
    """The probe is repeated without compression and without a transaction, until the cluster accepts it."""

    async def attempt(
        _connection: Connection, _topics: Sequence[str], compression: str | None, transactional_id: str | None, _timeout_s: float
    ) -> Exception | None:
        return KafkaError("no") if refuses(compression, transactional_id) else None  # type: ignore[operator]

    monkeypatch.setattr(probe, "_attempt", attempt)
    with pytest.raises(BrokerUnavailable, match="refuses a record of a worker") as caught:
        await probe_delivery(
            Connection(bootstrap_servers="b:1"), ["out", "dlq"], compression="zstd", transactional_id="t", transaction_timeout_s=9
        )
    assert words in str(caught.value)


@pytest.mark.kafka
@pytest.mark.parametrize("compression", ["zstd", "gzip", None])
async def test_readers_of_committed_records_see_no_probe_of_a_transaction(
    connection: Connection, topic: str, compression: str | None
) -> None:
    """A cluster that accepts everything gets an aborted record; without a transaction the record remains."""
    await admin.create_missing(connection, {topic: 1})
    options = {"compression": compression, "transaction_timeout_s": 9.0}
    await probe_delivery(connection, [topic], transactional_id=f"check-{topic}", **options)  # type: ignore[arg-type]
    assert [record async for records in read_to_end(connection, {Partition(topic, 0): 0}) for record in records] == []
    await probe_delivery(connection, [topic], transactional_id=None, **options)  # type: ignore[arg-type]
    (record,) = [record async for records in read_to_end(connection, {Partition(topic, 0): 0}) for record in records]
    assert record.key == b"gist-probe"


@pytest.mark.kafka
async def test_a_topic_that_does_not_exist_is_a_refusal(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the topic."""
    monkeypatch.setattr(probe, "_TIMEOUT_S", 2.0)
    with pytest.raises(BrokerUnavailable, match=f"write to {topic}"):
        await probe_delivery(connection, [topic], compression=None, transactional_id=None, transaction_timeout_s=9)

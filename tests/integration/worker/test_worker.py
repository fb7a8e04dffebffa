"""The worker as a process, on a real Kafka with a real model: content, order, and what happens when things die."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.support.raw import configure
from tests.integration.support.reading import committed, until_first_commit
from tests.integration.support.workers import RESULTS, Watcher, WorkerProcess, create, first_seen, produce
from worker.broker.admin import topics
from worker.broker.connection.connection import Connection
from worker.broker.tools.clients import open_producer
from worker.errors import BrokerUnavailable
from worker.model.engine import Engine
from worker.records import Item, Output, Partition, Record, TokenizedItem
from worker.settings import DEFAULT_MODEL
from worker.wire.encode import decode_embedding
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from worker.testbed.embedded_kafka import EmbeddedKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

TEXTS = [
    "The soup was cold and the waiter did not care.",
    "What a wonderful evening we had in Lisbon!",
    "  Ada Lovelace wrote to Charles Babbage from London.",
    "Café Müller in Zürich — très bon 😀 says Amélie.",
    "line one\r\nline two: Nokia moved to Espoo",
    "Terrible. I want my money back.",
    "x",
]


def texts(count: int) -> list[str]:
    """Return as many different texts of different lengths."""
    return [f"{TEXTS[n % len(TEXTS)]} {n} " + "and so on " * (n % 5) for n in range(count)]


async def test_the_outputs_are_what_the_model_says_when_called_directly(connection: Connection, topic: str) -> None:
    """Embedding, labels and entities of each text are those of the engine, whatever batch it went through."""
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, TEXTS, num_partitions=2)
    watcher = Watcher(connection, topic, num_expected=len(TEXTS))
    with WorkerProcess(connection.bootstrap_servers, topic, dtype="float32") as worker:
        async with watcher:
            await watcher.all_accounted()
        assert await worker.end(signal.SIGTERM) == 0
    engine = Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32", threads=1)
    nowhere = Record(Partition("t", 0), 0, None, b"")
    for number, text in enumerate(TEXTS):
        found = {o: json.loads(r.value or b"") for o, r in watcher.records if r.key == b"%d" % number}
        tokens = engine.tokenize([text])[0]
        expected = engine.infer([TokenizedItem(Item(nowhere, "", text, engine.tasks), tokens)])[0]
        assert expected.embedding is not None
        np.testing.assert_allclose(decode_embedding(found[Output.EMBEDDINGS]), expected.embedding, atol=1e-5)
        assert expected.labels is not None
        assert found[Output.LABELS]["labels"]["sentiment"]["label"] == expected.labels["sentiment"].label
        spans = [(e["type"], e["start"], e["end"]) for e in found[Output.ENTITIES]["entities"]]
        assert spans == [(e.type, e.start, e.end) for e in expected.entities or ()]
        assert all(text[e["start"] : e["end"]] == e["text"] for e in found[Output.ENTITIES]["entities"])
        assert {output["id"] for output in found.values()} == {f"id-{number}"}


async def test_two_workers_share_a_topic_while_one_comes_and_goes(connection: Connection, topic: str) -> None:
    """Under load, a worker that joins and leaves in good order costs nothing: none lost, none twice, order kept."""
    num_partitions, count = 4, 3000
    await create(connection, topic, num_partitions=num_partitions)
    async with Watcher(connection, topic, num_expected=count) as watcher:
        with (
            WorkerProcess(connection.bootstrap_servers, topic) as first,
            WorkerProcess(connection.bootstrap_servers, topic) as second,
        ):
            await first.ready()
            producing_all = asyncio.create_task(produce(connection, topic, texts(count), num_partitions=num_partitions))
            await second.ready()
            await watcher.until(lambda: watcher.account.num_accounted > 300)
            # Both work: neither leaves before it has had its share.
            for worker in (first, second):
                while not await asyncio.to_thread(worker.metric, "gist_records_consumed_total"):  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.1)
            assert await second.end(signal.SIGTERM) == 0
            await producing_all
            await watcher.all_accounted()
            assert await first.end(signal.SIGTERM) == 0
    assert watcher.account.num_duplicates == 0
    for offsets in watcher.order.values():
        assert offsets == sorted(offsets)


async def test_a_backfill_is_done_beside_the_live_topic_and_after_it(connection: Connection, topic: str) -> None:
    """Both go to the same outputs, each record once and in its order; what is live does not wait for what was there before."""
    num_live, num_old, backfill = 200, 900, f"{topic}.old"
    await create(connection, topic, num_partitions=2)
    await topics.create_missing(connection, {backfill: 2})
    await produce(connection, backfill, texts(num_old), num_partitions=2)
    async with Watcher(connection, topic, num_expected=num_live) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, backfill_topic=backfill, max_backfill_batch_tokens=64) as worker:
            await watcher.until(lambda: len(watcher.records) > 100)
            await produce(connection, topic, texts(num_live), num_partitions=2)
            await watcher.until(lambda: len(watcher.records) == 3 * (num_live + num_old))
            assert await worker.end(signal.SIGTERM) == 0
    order: dict[tuple[bytes, bytes], list[int]] = {}
    for output, record in watcher.records:
        if output is Output.EMBEDDINGS:
            headers = read_headers(record.headers)
            place = headers["gist-source-topic"], headers["gist-source-partition"]
            order.setdefault(place, []).append(int(headers["gist-source-offset"]))
    assert {name: offsets == list(range(len(offsets))) for name, offsets in order.items()} == dict.fromkeys(order, True)
    assert sorted(map(len, order.values())) == [num_live // 2] * 2 + [num_old // 2] * 2
    last_number = {read_headers(record.headers)["gist-source-topic"]: number for number, (_, record) in enumerate(watcher.records)}
    assert last_number[topic.encode()] < last_number[backfill.encode()]


async def test_sigterm_under_load_loses_nothing_and_repeats_nothing(connection: Connection, topic: str) -> None:
    """A worker that is told to stop drains, commits and leaves with 0; the next goes on exactly there."""
    count = 1500
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, texts(count), num_partitions=2)
    async with Watcher(connection, topic, num_expected=count) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic) as worker:
            await watcher.until(lambda: watcher.account.num_accounted > 200)
            assert await worker.end(signal.SIGTERM) == 0
        assert watcher.account.num_missing > 0
        with WorkerProcess(connection.bootstrap_servers, topic):
            await watcher.all_accounted()
    assert watcher.account.num_duplicates == 0
    for offsets in watcher.order.values():
        assert offsets == list(range(count // 2))


async def test_sigkill_under_load_loses_nothing(connection: Connection, topic: str) -> None:
    """Only what was published and not committed comes twice, with the same ids, and the order holds."""
    count = 1500
    partitions = [Partition(topic, 0), Partition(topic, 1)]
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, texts(count), num_partitions=2)
    async with Watcher(connection, topic, num_expected=count) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic) as worker:
            await watcher.until(lambda: watcher.account.num_accounted > 200)
            await until_first_commit(connection, f"group-{topic}", partitions)
            await worker.end(signal.SIGKILL)
        done = await committed(connection, f"group-{topic}", partitions)
        with WorkerProcess(connection.bootstrap_servers, topic):
            await watcher.all_accounted()
    repeated = [place for place, outputs in watcher.account.seen.items() if max(outputs.values()) > 1]
    assert all(offset >= done[partition] for partition, offset in repeated)
    assert watcher.account.num_duplicates <= len(RESULTS) * len(repeated)
    for offsets in watcher.order.values():
        assert first_seen(offsets) == list(range(count // 2))


async def test_a_broker_that_restarts_under_load_costs_nothing_but_time(own_kafka: EmbeddedKafka, topic: str) -> None:
    """The worker lives through a crash of the only broker: none lost, order kept."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=10_000)
    count = 1500
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, texts(count), num_partitions=2)
    with WorkerProcess(own_kafka.bootstrap_servers, topic, delivery_timeout_ms=5000) as worker:
        await worker.ready()
        async with Watcher(connection, topic, num_expected=count) as watcher:
            await watcher.until(lambda: watcher.account.num_accounted > 200)
        await asyncio.to_thread(own_kafka.kill)
        await asyncio.to_thread(own_kafka.start)
        async with Watcher(connection, topic, num_expected=count) as watcher:
            await watcher.all_accounted()
        assert await worker.end(signal.SIGTERM) == 0
    for offsets in watcher.order.values():
        assert first_seen(offsets) == list(range(count // 2))


async def test_a_topic_that_takes_only_small_messages_gets_a_dead_letter(connection: Connection, topic: str) -> None:
    """Vectors that do not fit become dead letters; labels and entities of the same records are published, and the line goes on."""
    await create(connection, topic, num_partitions=1)
    await configure(connection, f"{topic}.embeddings", {"max.message.bytes": "2000"})
    await produce(connection, topic, TEXTS, num_partitions=1)
    async with Watcher(connection, topic, num_expected=len(TEXTS)) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic):
            await watcher.until(lambda: len(watcher.order.get((Output.DEAD_LETTERS, 0), [])) == len(TEXTS))
            await watcher.until(lambda: len(watcher.order.get((Output.ENTITIES, 0), [])) == len(TEXTS))
    assert (Output.EMBEDDINGS, 0) not in watcher.order
    assert watcher.order[Output.LABELS, 0] == list(range(len(TEXTS)))
    letter = next(json.loads(r.value or b"") for o, r in watcher.records if o is Output.DEAD_LETTERS)
    assert (letter["stage"], letter["task"], letter["error"]) == ("publish", "embed", "RecordRefused")


async def test_poison_among_good_records_is_parked(connection: Connection, topic: str) -> None:
    """Each bad record is one dead letter with its reason, in its place, and the good ones come out."""
    await create(connection, topic, num_partitions=1)
    values = [b'{"text":"good"}', b"\xff", b'{"text":"good"}', b"{", b'{"text":1}', b'{"text":"good"}']
    async with open_producer(connection) as producer:
        for value in values:
            await producer.send(topic, value, key=b"k")
    async with Watcher(connection, topic, num_expected=len(values)) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic):
            await watcher.all_accounted()
    assert watcher.order[Output.DEAD_LETTERS, 0] == [1, 3, 4]
    assert watcher.order[Output.EMBEDDINGS, 0] == [0, 2, 5]


async def test_inference_slower_than_the_session_timeout_causes_no_rebalance(connection: Connection, topic: str) -> None:
    """Heartbeats leave while the model works: a batch of eight seconds with a session of six changes nothing."""
    await create(connection, topic, num_partitions=2)
    await produce(connection, topic, texts(4), num_partitions=2)
    program = ("-m", "tests.integration.support.slow_worker", "8")
    async with Watcher(connection, topic, num_expected=4) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, program=program, drain_timeout_ms=30_000) as worker:
            await watcher.all_accounted()
            assert len(worker.events("partitions_assigned")) == 1
            assert worker.events("partitions_revoked") == []
            assert worker.events("session_ended") == []
    assert watcher.account.num_duplicates == 0


async def test_ten_times_more_than_the_model_can_do_is_held_back(connection: Connection, topic: str) -> None:
    """The worker reads no more than it can hold, keeps its heartbeat, and stays within its memory."""
    await create(connection, topic, num_partitions=2)
    program = ("-m", "tests.integration.support.slow_worker", "0.25")
    high = 2000
    settings = {
        "max_batch_tokens": 64,
        "max_batch_records": 8,
        "max_in_flight_tokens": high,
        "resume_in_flight_tokens": 1000,
        "max_poll_records": 50,
    }
    with WorkerProcess(connection.bootstrap_servers, topic, program=program, **settings) as worker:
        await worker.ready()
        before = await asyncio.to_thread(worker.metric, "process_resident_memory_bytes")
        # Two hundred times what one pass takes, while the model does thirty records a second.
        await produce(connection, topic, texts(6000), num_partitions=2)
        async with Watcher(connection, topic, num_expected=6000) as watcher:
            await watcher.until(lambda: watcher.account.num_accounted > 250)
        in_flight = await asyncio.to_thread(worker.metric, "gist_in_flight_tokens")
        grown = await asyncio.to_thread(worker.metric, "process_resident_memory_bytes") - before
        assert in_flight <= high + 50 * 64
        assert grown < 100_000_000
        assert worker.events("partitions_revoked") == []


async def test_a_worker_without_its_topics_says_so_in_one_line(connection: Connection, topic: str) -> None:
    """It leaves with exit code 4, names the topics and the command that makes them."""
    with WorkerProcess(connection.bootstrap_servers, topic) as worker:
        assert worker.process is not None
        assert await asyncio.to_thread(worker.process.wait, 60) == 4
        last = worker.log.read_text().splitlines()[-1]
        assert last.startswith("gist-stream: there are no topics")
        assert "gist-stream topics --create" in last


async def test_a_worker_without_a_broker_says_so_in_one_line(topic: str) -> None:
    """It leaves with exit code 3 and names the address."""
    with WorkerProcess("127.0.0.1:1", topic) as worker:
        assert worker.process is not None
        assert await asyncio.to_thread(worker.process.wait, 60) == BrokerUnavailable.exit_code
        last = worker.log.read_text().splitlines()[-1]
        assert last.startswith("gist-stream: no broker can be used at 127.0.0.1:1")

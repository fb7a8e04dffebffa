"""`gist-stream dlq` on a real Kafka: records are replayed once, in order and unchanged, even if the replay is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.integration.support.reading import read_all
from tests.integration.support.workers import Watcher, WorkerProcess, create
from worker.broker.tools.clients import open_producer, open_transaction
from worker.cli import app
from worker.errors import BadSettings
from worker.records import Failure, Output, Partition, Record, Stage, Task, UnreadableRange
from worker.wire.decode import Limits
from worker.wire.encode import encode_dead_letter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

LIMITS = Limits(max_dead_letter_payload_bytes=100)


def letter(source: Record | UnreadableRange, stage: Stage = Stage.INFER, task: Task | None = None, message: str = "no") -> Any:
    """Return the dead letter that a worker would write."""
    failure = Failure(stage, "PlantedError", message, task)
    return encode_dead_letter(source, failure, model_name="m@1", limits=LIMITS).messages[0]


def original(topic: str, number: int, *, num_partitions: int = 2, text: str = "hello") -> Record:
    """Return a record of the input topic."""
    value = json.dumps({"id": f"id-{number}", "text": text}).encode()
    headers = (("trace", b"t-%d" % number), ("null", None), ("empty", b""), ("twice", b"1"), ("twice", b"2"))
    return Record(Partition(topic, number % num_partitions), 100 + number, b"key-%d" % number, value, headers, 1_700_000_000_000)


async def write(connection: Connection, topic: str, letters: Sequence[tuple[int, Any]]) -> None:
    """Write dead letters to their partitions, in transactions of three."""
    for start in range(0, len(letters), 3):
        async with open_transaction(connection, name=f"writer-{topic}") as producer:
            for partition, letter in letters[start : start + 3]:
                await producer.send(f"{topic}.dlq", letter.value, key=letter.key, headers=letter.headers, partition=partition)


def invoke(connection: Connection, topic: str, *arguments: str) -> str:
    """Run a command and return what it printed; raises what it raised."""
    flags = ["--bootstrap-servers", connection.bootstrap_servers, "--input-topic", topic]
    result = CliRunner().invoke(app, ["dlq", *arguments, *flags], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def listed(connection: Connection, topic: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the letters that a list shows."""
    return [json.loads(line) for line in invoke(connection, topic, "list", "--json", *arguments).splitlines()]


def replayed(connection: Connection, topic: str, num_partitions: int = 2) -> list[list[Any]]:
    """Return what stands in each partition of a topic."""

    async def read() -> list[list[Any]]:
        return [await read_all(connection, topic, partition=partition) for partition in range(num_partitions)]

    return asyncio.run(read())


def test_records_come_back_as_they_were_and_say_how_often_they_are_tried(connection: Connection, topic: str) -> None:
    """Key, headers, value, partition and order are kept, and a second replay sends nothing."""

    async def prepare() -> None:
        await create(connection, topic, num_partitions=2)
        numbers = [(source.partition.index, letter(source)) for source in (original(topic, number) for number in range(8))]
        single = letter(original(topic, 8), task=Task.NER)
        await write(connection, topic, [*numbers, (0, single)])

    asyncio.run(prepare())
    assert "9 would be replayed" in invoke(connection, topic, "replay")
    assert invoke(connection, topic, "replay", "--execute") == f"9 replayed into {topic}\n"
    assert invoke(connection, topic, "replay", "--execute") == f"0 replayed into {topic}\n"
    named = invoke(connection, topic, "replay", "--letter", "0@1", "--letter", "1@0", "--execute")
    assert named == f"0 replayed into {topic}; replayed or dropped before: 0@1, 1@0\n"
    with pytest.raises(BadSettings, match="there is no dead letter 7@7"):
        invoke(connection, topic, "replay", "--letter", "7@7", "--execute")
    found = replayed(connection, topic)
    for partition, records in enumerate(found):
        numbers = [number for number in range(9) if number % 2 == partition]
        expected = [original(topic, number) for number in numbers]
        assert [(record.key, record.value) for record in records] == [(record.key, record.value) for record in expected]
        assert [record.headers[0] for record in records] == [("gist-attempt", b"2")] * len(records)
        assert [record.headers[-5:] for record in records] == [record.headers for record in expected]
    assert found[0][-1].headers[1] == ("gist-replay-task", b"ner")
    assert listed(connection, topic) == []
    assert len(listed(connection, topic, "--done")) == 9


def test_selected_dead_letters_are_replayed_or_dropped_and_others_stay(connection: Connection, topic: str) -> None:
    """Dead letters that cannot be replayed are counted with the reason, and stay."""

    async def prepare() -> None:
        await create(connection, topic, num_partitions=2)
        places = [original(topic, number, num_partitions=1) for number in range(4)]
        cut = letter(original(topic, 4, num_partitions=1, text="x" * 200))
        unread = letter(UnreadableRange(Partition(topic, 0), 7, 9, "CorruptRecordException", "broken"), Stage.CONSUME)
        kinds = [Stage.DECODE, Stage.INFER, Stage.DECODE, Stage.INFER]
        letters = [letter(source, stage, message=f"Reason {source.offset}") for source, stage in zip(places, kinds, strict=True)]
        await write(connection, topic, [(0, message) for message in (*letters, cut, unread)])
        async with open_producer(connection) as producer:
            await producer.send(f"{topic}.dlq", b"no letter", partition=0)

    asyncio.run(prepare())
    assert [row["stage"] for row in listed(connection, topic)] == ["decode", "infer", "decode", "infer", "infer", "consume"]
    assert [row["source"] for row in listed(connection, topic, "--reason", "reason 102")] == [f"{topic}-0@102"]
    assert [row["id"] for row in listed(connection, topic, "--id", "id-3", "--since", "1h", "--partition", "0")] == ["id-3"]
    assert listed(connection, topic, "--until", "1h") == []
    table = invoke(connection, topic, "list")
    assert "not dead letters: 1 record" in table
    assert table.count("PlantedError") == 3 + 6
    shown = invoke(connection, topic, "replay", "--stage", "infer", "--execute")
    assert shown.startswith(f"2 replayed into {topic}; 1 cannot be replayed: its key, headers or payload were cut")
    assert "3 not selected" in shown
    assert "1 would be dropped; 3 not selected" in invoke(connection, topic, "drop", "--offset", "102")
    assert [row["id"] for row in listed(connection, topic)][:2] == ["id-0", "id-2"]
    assert "1 dropped" in invoke(connection, topic, "drop", "--offset", "102", "--execute")
    shown = invoke(connection, topic, "replay", "--execute")
    assert f"1 replayed into {topic}" in shown
    assert "1 cannot be replayed: the offsets could not be read" in shown
    assert [json.loads(record.value)["id"] for record in replayed(connection, topic)[0]] == ["id-1", "id-3", "id-0"]
    with pytest.raises(BadSettings, match="no dead letter is selected"):
        invoke(connection, topic, "drop", "--execute")
    assert "2 dropped" in invoke(connection, topic, "drop", "--all", "--execute")
    assert listed(connection, topic) == []


def test_a_letter_is_shown_whole(connection: Connection, topic: str) -> None:
    """The payload is decoded, and an unknown dead letter is named in the error."""

    async def prepare() -> None:
        await create(connection, topic, num_partitions=2)
        await write(connection, topic, [(1, letter(original(topic, 3)))])

    asyncio.run(prepare())
    shown = invoke(connection, topic, "show", "1@0")
    for part in (
        f"{topic}-1@103",
        "PlantedError: no",
        '"text": "hello"',
        "header trace t-3",
        "header null none",
        "key-3",
        "at attempt 1",
    ):
        assert part in shown
    assert json.loads(invoke(connection, topic, "show", "1@0", "--json"))["says"]["error"] == "PlantedError"
    for name in ("1@7", "9@0", "x"):
        with pytest.raises(BadSettings, match=name):
            invoke(connection, topic, "show", name)


@pytest.mark.parametrize(
    ("timestamp_ms", "shown"),
    [
        (-1, "not stamped"),
        (0, "stamped 1970-01-01 00:00:00 UTC"),
        (1_700_000_000_000_000, "stamped 1700000000000000 ms after 1970-01-01 00:00:00 UTC"),
        (2**63 - 1, "stamped 9223372036854775807 ms after 1970-01-01 00:00:00 UTC"),
    ],
)
def test_a_letter_is_shown_whatever_the_timestamp_of_its_record(
    connection: Connection, topic: str, timestamp_ms: int, shown: str
) -> None:
    """A timestamp in microseconds is beyond the calendar, and is shown as its number; the letter can be listed and replayed too."""
    source = replace(original(topic, 0), timestamp_ms=timestamp_ms)

    async def prepare() -> None:
        await create(connection, topic, num_partitions=1)
        await write(connection, topic, [(0, letter(source))])

    asyncio.run(prepare())
    assert shown in invoke(connection, topic, "show", "0@0")
    assert "1 dead letter in" in invoke(connection, topic, "list")
    assert "1 replayed" in invoke(connection, topic, "replay", "--execute")


def test_a_replay_that_is_killed_repeats_nothing(connection: Connection, topic: str) -> None:
    """The next run continues after SIGKILL within a transaction or between two transactions."""
    count = 60

    async def prepare() -> None:
        await create(connection, topic, num_partitions=2)
        places = [original(topic, number) for number in range(count)]
        await write(connection, topic, [(source.partition.index, letter(source)) for source in places])

    asyncio.run(prepare())
    environment = os.environ | {
        "GIST_BOOTSTRAP_SERVERS": connection.bootstrap_servers,
        "GIST_INPUT_TOPIC": topic,
        "GIST_MAX_TRANSACTION_RECORDS": "4",
    }
    num_left = count
    for point in ("before:EndTxn:4", "after:EndTxn:5"):
        program = [sys.executable, "-m", "tests.integration.support.killed_command", point, "dlq", "replay", "--execute"]
        killed = subprocess.run(program, env=environment, check=False, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        num_before, num_left = num_left, len(listed(connection, topic))
        assert 0 < num_left < num_before
    assert f"{num_left} replayed" in invoke(connection, topic, "replay", "--execute")
    for partition, records in enumerate(replayed(connection, topic)):
        assert [record.key for record in records] == [b"key-%d" % number for number in range(count) if number % 2 == partition]


async def test_a_record_that_fails_again_has_been_tried_twice(connection: Connection, topic: str) -> None:
    """Each replay increments the attempt number."""
    await create(connection, topic, num_partitions=1)
    async with open_producer(connection) as producer:
        await producer.send(topic, b'{"text": "this is poison"}', key=b"k", headers=(("trace", b"t"), ("null", None)))
    program = ("-m", "tests.integration.support.slow_worker", "0")
    async with Watcher(connection, topic, num_expected=1) as watcher:
        with WorkerProcess(connection.bootstrap_servers, topic, program=program, dead_letter_hold_ms=500):
            for attempt in (1, 2, 3):
                await watcher.until(lambda: len(watcher.order.get((Output.DEAD_LETTERS, 0), [])) == attempt)  # noqa: B023  awaited here
                if attempt < 3:
                    await asyncio.to_thread(invoke, connection, topic, "replay", "--execute")
    letters = [json.loads(letter.value or b"") for output, letter in watcher.records if output is Output.DEAD_LETTERS]
    assert [letter["attempts"] for letter in letters] == [1, 2, 3]
    assert [letter["headers"] for letter in letters] == [[{"name": "trace", "value": "dA=="}, {"name": "null", "value": None}]] * 3
    for output, found in watcher.records:
        assert output is not Output.DEAD_LETTERS or found.headers[:2] == (("trace", b"t"), ("null", None))

"""The demo of a search in SQL: texts, a worker, Kafka Connect with Debezium's JDBC sink, and PostgreSQL with pgvector."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from worker.broker.tools.clients import open_producer
from worker.commands.terminal import Terminal
from worker.composition.broker import build_connection, create_topics
from worker.errors import BrokerUnavailable
from worker.settings import read
from worker.testbed.kafka_connect import KafkaConnect, fetch_jdbc_sink
from worker.testbed.postgres import EmbeddedPostgres
from worker.testbed.worker_process import WorkerProcess, run_kafka

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from worker.settings import Settings

_HOME = Path(".demo")
_TABLE = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE gist_texts (
  id text PRIMARY KEY, text text NOT NULL, embedding vector(384),
  labels jsonb, entities jsonb, model text, tokens int, truncated boolean
);
"""
# Questions, and the texts that answer them.
_ANSWERS = {
    "How much protein does a woman need?": "Women should eat about 46 grams of protein a day.",
    "When does the train go?": "The train to Berlin leaves at eight o'clock.",
    "In which month does it start to rain?": "The rainy season begins in June.",
    "The delivery has not arrived yet.": "My parcel is two weeks late.",
}
_FILLERS = ("Invoice {} was paid.", "Meeting {} takes place on Monday.", "Machine {} is broken.", "Version {} has a new logo.")
_SILENCE_TIMEOUT_S = 120.0


def build_jdbc_sink(topic: str, *, port: int, database: str = "postgres", table: str = "gist_texts") -> dict[str, str]:
    """Return the configuration of Debezium's JDBC sink for the layout `flat`. docs/use/sinks.md explains each line."""
    optional = {"type": "string", "optional": True}
    document = optional | {"name": "io.debezium.data.Json", "version": 1}
    vector = {"type": "array", "optional": True, "name": "io.debezium.data.DoubleVector", "version": 1}
    columns: dict[str, dict[str, Any]] = {
        "text": {"type": "string", "optional": False},
        "embedding": vector | {"items": {"type": "double", "optional": False}},
        "labels": document,
        "entities": document,
        "model": optional,
        "tokens": {"type": "int32", "optional": True},
        "truncated": {"type": "boolean", "optional": True},
    }
    fields = [{"field": name, **column} for name, column in columns.items()]
    return {
        "topics": topic,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "connection.url": f"jdbc:postgresql://127.0.0.1:{port}/{database}",
        "connection.username": "postgres",
        "connection.password": "unused",
        "connection.pool.min_size": "1",
        "connection.pool.max_size": "2",
        "insert.mode": "upsert",
        "primary.key.mode": "record_key",
        "primary.key.fields": "id",
        "delete.enabled": "true",
        "schema.evolution": "none",
        "collection.name.format": table,
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": orjson.dumps({"type": "struct", "optional": False, "fields": fields}).decode(),
        "transforms": "key",
        "transforms.key.type": "org.apache.kafka.connect.transforms.HoistField$Key",
        "transforms.key.field": "id",
    }


def demo_search(
    *,
    count: Annotated[int, typer.Option(min=100, max=100_000, help="Number of texts that answer no question.")] = 2000,
) -> int:
    """Run the whole chain on this machine: texts, a worker, Kafka Connect, PostgreSQL, and a semantic search in SQL.

    The worker and the connector are killed once. The exit code is 0 only if each text is in the table once, deleted texts are not,
    and each question finds its answer.
    """
    _HOME.mkdir(exist_ok=True)
    console = Terminal()
    console.print("plugin      fetching Debezium's JDBC sink (58 MB the first time) …")
    plugins = fetch_jdbc_sink(_HOME / "connect-plugins")
    with run_kafka(console.print) as (servers, _), EmbeddedPostgres() as database:
        console.print(f"PostgreSQL  ready at 127.0.0.1:{database.port}")
        database.execute(_TABLE)
        run_id = f"{int(time.time())}"
        topics = {"input_topic": f"texts-{run_id}", "group_id": f"demo-{run_id}", "tasks": ""}
        layout = {"output_layout": "flat", "embedding_encoding": "float", "results_topic": ""}
        settings = read({"bootstrap_servers": servers, **topics, **layout})
        asyncio.run(create_topics(settings))
        connectors = {f"gist-search-{run_id}": build_jdbc_sink(settings.output_topics["flat"], port=database.port)}
        directory = _HOME / "connect"
        (directory / "offsets").unlink(missing_ok=True)
        connect = KafkaConnect(servers, directory, plugins=plugins, connectors=connectors)
        chosen = {name: getattr(settings, name) for name in ("bootstrap_servers", *topics, *layout) if name != "tasks"}
        worker = WorkerProcess(chosen, _HOME / "worker.log")
        with contextlib.ExitStack() as stack:
            stack.callback(worker.stop)
            stack.enter_context(connect)
            console.print(f"Connect     ready at {connect.url}")
            faults = asyncio.run(_run(console, settings, database, worker, connect, count=count))
    for fault in faults:
        console.print(f"wrong       {fault}", markup=False, soft_wrap=True)
    console.print("each text is in the table once, and each question finds its answer" if not faults else "the demo failed")
    return 1 if faults else 0


async def _run(
    console: Terminal,
    settings: Settings,
    database: EmbeddedPostgres,
    worker: WorkerProcess,
    connect: KafkaConnect,
    *,
    count: int,
) -> list[str]:
    """Send, kill, delete and search; return what is wrong."""
    await worker.wait_until_ready()
    texts = dict(_build_texts(count))
    await _send(settings, texts)
    await _wait_for_rows(database, count // 4)
    console.print(f"kill -9     worker and connector, with {_count(database)} of {len(texts)} rows in the table")
    connect.kill()
    worker.crash()
    await asyncio.to_thread(connect.start)
    # A record without a value deletes its row, and another text for an id replaces it.
    deleted, changed = "filler-0", {"filler-1": "Invoice 1 was never paid."}
    await _send(settings, {deleted: None, **changed})
    del texts[deleted]
    questions = {f"question-{number}": text for number, text in enumerate(_ANSWERS)}
    await _send(settings, questions)
    expected = texts | changed | questions
    await _wait_for_rows(database, len(expected), sentinel=[*questions])
    faults = _compare(database, expected)
    console.print(f"table       {_count(database)} rows of {len(expected)} texts; 1 deleted, 1 replaced")
    return faults + _search(console, database)


def _build_texts(count: int) -> Iterator[tuple[str, str]]:
    """Yield the texts of the search and `count` other texts, by id."""
    for number, text in enumerate(_ANSWERS.values()):
        yield f"answer-{number}", text
    for number in range(count):
        yield f"filler-{number}", _FILLERS[number % len(_FILLERS)].format(number)


async def _send(settings: Settings, texts: Mapping[str, str | None]) -> None:
    """Send texts with their ids as keys; a text of None is a tombstone."""
    async with open_producer(build_connection(settings)) as producer:
        for identity, text in texts.items():
            value = None if text is None else orjson.dumps({"id": identity, "text": text})
            await producer.send(settings.input_topic, value, key=identity.encode())


async def _wait_for_rows(database: EmbeddedPostgres, count: int, *, sentinel: list[str] | None = None) -> None:
    """Return when the table has `count` rows, with the ids of `sentinel`. Raises `BrokerUnavailable` if it stops growing."""
    last, changed_s = -1, time.monotonic()
    ids = ", ".join(f"'{identity}'" for identity in sentinel or ())
    while True:
        num_rows = _count(database)
        num_found = _count(database, f"WHERE id IN ({ids})") if ids else 0
        # Until the tombstone is applied the table has one more row.
        if (num_rows == count if ids else num_rows >= count) and num_found == len(sentinel or ()):
            return
        if num_rows + num_found != last:
            last, changed_s = num_rows + num_found, time.monotonic()
        if time.monotonic() - changed_s > _SILENCE_TIMEOUT_S:
            raise BrokerUnavailable(f"the table has {num_rows} rows of {count}, and none has arrived for {_SILENCE_TIMEOUT_S:g} s")
        await asyncio.sleep(0.2)


def _count(database: EmbeddedPostgres, condition: str = "") -> int:
    return int(database.execute(f"SELECT count(*) FROM gist_texts {condition}"))  # noqa: S608  a condition of this module


def _compare(database: EmbeddedPostgres, expected: Mapping[str, str]) -> list[str]:
    """Return the differences between the table and the texts that were sent."""
    rows = database.select("SELECT id, text, vector_dims(embedding) AS dim, labels, entities FROM gist_texts")
    found = {row["id"]: row["text"] for row in rows}
    faults = [f"{identity} is missing or another text" for identity, text in expected.items() if found.get(identity) != text]
    faults += [f"{identity} should not be in the table" for identity in found.keys() - expected.keys()]
    faults += [f"{len(rows)} rows have {len(found)} ids"] if len(rows) > len(found) else []
    faults += [f"{row['id']} has no results" for row in rows if row["dim"] != 384 or row["labels"] is None]  # noqa: PLR2004
    train: list[dict[str, Any]] = next((row["entities"] for row in rows if row["id"] == "answer-1"), [])
    return faults + ([] if [entity["text"] for entity in train] == ["Berlin"] else [f"the entities are {train}"])


def _search(console: Terminal, database: EmbeddedPostgres) -> list[str]:
    """Find the nearest text of each question with SQL, show it, and return the questions with another answer."""
    rows = database.select(
        "SELECT q.text AS question, a.text AS answer, a.score FROM gist_texts AS q CROSS JOIN LATERAL ("
        "SELECT text, round((1 - (d.embedding <=> q.embedding))::numeric, 2) AS score FROM gist_texts AS d "
        "WHERE d.id NOT LIKE 'question-%' ORDER BY d.embedding <=> q.embedding LIMIT 1) AS a "
        "WHERE q.id LIKE 'question-%' ORDER BY q.id"
    )
    for row in rows:
        console.print(f"search      {row['question']} → {row['answer']} (cosine {row['score']})", markup=False, soft_wrap=True)
    return [f"{row['question']} finds {row['answer']}" for row in rows if _ANSWERS[row["question"]] != row["answer"]]

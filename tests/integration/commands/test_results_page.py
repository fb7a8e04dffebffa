"""The examples of docs/use/results.md read the outputs of a worker, on a real Kafka."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.workers import Watcher, WorkerProcess, create, produce
from worker.broker.tools.clients import open_producer
from worker.testbed.embedded_kafka import runtime

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[3] / "docs" / "use" / "results.md"
TEXTS = ["Ada Lovelace loved London.", "The soup was cold.", "x"]
# Two dead letters and a record without labels and entities.
OTHERS = [b"no JSON", b"[1]", b'{"id": "vector", "text": "A vector only.", "tasks": ["embed"]}']


def read_example(name: str) -> str:
    """Return the code of an example of the page."""
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


async def _process(connection: Connection, topic: str) -> None:
    """Let a worker process the texts."""
    await create(connection, topic, num_partitions=2)
    async with open_producer(connection) as producer:
        for value in OTHERS:
            await producer.send(topic, value, partition=0)
    await produce(connection, topic, TEXTS, num_partitions=2)
    with WorkerProcess(connection.bootstrap_servers, topic, delivery="exactly_once", embedding_encoding="float16"):
        async with Watcher(connection, topic, num_expected=len(TEXTS) + 2) as watcher:
            await watcher.all_accounted()


def test_the_examples_join_the_results(connection: Connection, topic: str, tmp_path: Path) -> None:
    """Python and pandas have the results of each record, also where some are missing; Java joins the same records."""
    asyncio.run(_process(connection, topic))
    servers = connection.bootstrap_servers
    python = read_example("results.py").replace("localhost:9092", servers).replace('"texts"', f'"{topic}"')
    scope: dict[str, Any] = {}
    for code in (python, read_example("vectors.py"), read_example("frame.py")):
        exec(code, scope)  # noqa: S102  the examples of the page
    frame, entities = scope["frame"], scope["entities"]
    assert sorted(frame["text"].dropna()) == sorted([*TEXTS, "A vector only."])
    assert [len(vector) for vector in frame["vector"].dropna()] == [384] * 4
    assert sorted(frame["sentiment"].dropna().isin({"positive", "negative"})) == [True] * 3
    assert {"Ada Lovelace", "London"} <= set(entities["text"])
    _, jars = runtime()
    if (javac := shutil.which("javac")) is None or (java := shutil.which("java")) is None:
        pytest.skip("the example in Java is not compiled: there is no JDK")
    (tmp_path / "Results.java").write_text(read_example("Results.java"))
    path = os.pathsep.join([*map(str, jars), str(tmp_path)])
    subprocess.run([javac, "-cp", path, "-d", str(tmp_path), str(tmp_path / "Results.java")], check=True)
    done = subprocess.run([java, "-cp", path, "Results", servers, topic], check=True, capture_output=True, text=True)
    sys.stdout.write(done.stdout)
    joined = f"[{topic}.embeddings, {topic}.entities, {topic}.labels]"
    expected = [f"{position} {joined}" for position in ("0@3", "0@4", "1@0")]
    assert done.stdout.splitlines() == [f"0@2 [{topic}.embeddings]", *expected]

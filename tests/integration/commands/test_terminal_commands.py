"""`produce` and `tail` at a terminal, with an open pipe, and with a reader that closes its pipe."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.commands import PROGRAM, environment, terminal
from tests.integration.support.reading import read_all
from tests.integration.support.workers import create
from worker.broker.connection.connection import Connection
from worker.broker.tools.clients import follow, open_producer

if TYPE_CHECKING:
    from pathlib import Path

    from worker.testbed.embedded_kafka import EmbeddedKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


def _start(connection: Connection, topic: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*PROGRAM, *arguments], env=environment(connection.bootstrap_servers, topic), **options)


async def _next_text(arriving: Any) -> str:
    async for records in arriving:
        if records:
            assert len(records) == 1
            return str(json.loads(records[0].value)["text"])
    raise AssertionError


async def test_a_line_of_a_pipe_is_sent_before_the_next_is_written(connection: Connection, topic: str) -> None:
    """This is the case of `tail -f app.log | gist-stream produce`."""
    await create(connection, topic, num_partitions=1)
    arriving = follow(connection, [topic], from_beginning=True)
    producer = _start(connection, topic, "produce", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert producer.stdin
    for text in ("one", "two"):
        producer.stdin.write(text.encode() + b"\n")
        producer.stdin.flush()
        assert await _next_text(arriving) == text
    await arriving.aclose()
    _, errors = producer.communicate()
    assert producer.returncode == 0
    assert b"2 records sent" in errors


@pytest.mark.parametrize("ending", ["ctrl-d", "ctrl-c"])
async def test_a_typed_line_is_sent_and_one_key_ends(connection: Connection, topic: str, ending: str) -> None:
    """Each complete line is sent, and the exit code is that of the key."""
    await create(connection, topic, num_partitions=1)
    arriving = follow(connection, [topic], from_beginning=True)
    with terminal() as (typing, theirs):
        producer = _start(connection, topic, "produce", stdin=theirs, stderr=theirs, stdout=theirs, start_new_session=True)
        assert "one text on each line; Ctrl-D ends" in typing.read_until("Ctrl-D ends")
        typing.write("žluť\n".encode())
        assert await _next_text(arriving) == "žluť"
        if ending == "ctrl-d":
            typing.write(b"\x04")
        else:
            producer.send_signal(signal.SIGINT)
        code = producer.wait(timeout=60)
        os.close(theirs)
        shown = typing.read_until("record sent")
    await arriving.aclose()
    assert code == (0 if ending == "ctrl-d" else 130)
    assert "1 record sent" in shown
    assert "Traceback" not in shown


async def test_ctrl_c_once_ends_a_producer_whose_pipe_is_silent(connection: Connection, topic: str) -> None:
    """The lines before the signal are sent."""
    await create(connection, topic, num_partitions=1)
    arriving = follow(connection, [topic], from_beginning=True)
    producer = _start(connection, topic, "produce", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert producer.stdin
    assert producer.stderr
    producer.stdin.write(b"one\nno end")
    producer.stdin.flush()
    assert await _next_text(arriving) == "one"
    producer.send_signal(signal.SIGINT)
    assert producer.wait(timeout=60) == 130
    errors = producer.stderr.read()
    assert b"1 record sent" in errors
    assert b"Traceback" not in errors
    producer.stdin.close()
    producer.stderr.close()
    await arriving.aclose()


@pytest.mark.parametrize(
    ("content", "code", "words", "sent"),
    [
        (b"good\ncaf\xe9\n", 2, "line 2: byte 0xe9 at 4 is not UTF-8", []),
        ("Hello\n".encode("utf-16"), 2, "line 1: it is UTF-16 or UTF-32", []),
        (b"", 0, "0 records sent", []),
        ("\ufeffa\r\n\r\nb\r\n".encode(), 0, "2 records sent", ["a", "b"]),
    ],
)
@pytest.mark.parametrize("is_file", [True, False], ids=["file", "pipe"])
def test_only_text_is_sent(
    connection: Connection, topic: str, tmp_path: Path, content: bytes, code: int, words: str, sent: list[str], *, is_file: bool
) -> None:
    """A file with invalid UTF-8 is refused, a pipe ends at the invalid line, and empty input is no error."""
    asyncio.run(create(connection, topic, num_partitions=1))
    file = tmp_path / "texts.txt"
    file.write_bytes(content)
    ended = subprocess.run(
        [*PROGRAM, "produce", *([str(file)] if is_file else [])],
        env=environment(connection.bootstrap_servers, topic),
        check=False,
        input=content,
        capture_output=True,
    )
    errors = ended.stderr.decode()
    assert (ended.returncode, words in errors) == (code, True), errors
    assert "Traceback" not in errors
    found = [json.loads(record.value or b"")["text"] for record in asyncio.run(read_all(connection, topic))]
    assert found == (sent or ["good"] * (content.startswith(b"good") and not is_file))


def test_one_ctrl_c_ends_a_producer_whose_broker_is_dead(own_kafka: EmbeddedKafka, topic: str) -> None:
    """The command does not wait for the broker for ever, and the warnings of the client are few."""
    connection = Connection(bootstrap_servers=own_kafka.bootstrap_servers, request_timeout_ms=10_000)
    asyncio.run(create(connection, topic, num_partitions=1))
    producer = _start(connection, topic, "produce", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert producer.stdin
    assert producer.stderr
    producer.stdin.write(b"one\n")
    producer.stdin.flush()
    while not asyncio.run(read_all(connection, topic)):
        pass
    own_kafka.kill()
    producer.stdin.write(b"two\n")
    producer.stdin.flush()
    # The first warning of the client is the sign that the broker is missed.
    assert b"Connect" in producer.stderr.readline()
    producer.send_signal(signal.SIGINT)
    assert producer.wait(timeout=60) == 130
    errors = producer.stderr.read().decode()
    producer.stdin.close()
    producer.stderr.close()
    assert "1 record sent" in errors
    assert len(errors.splitlines()) < 8


async def _publish(connection: Connection, topic: str, identities: list[str]) -> None:
    """Publish results as a worker would, and a message that is none."""
    async with open_producer(connection) as producer:
        await producer.send(f"{topic}.labels", b"not ours", partition=0)
        for number, identity in enumerate(identities):
            headers = (("gist-source-partition", b"0"), ("gist-source-offset", b"%d" % number))
            entity = {"type": "LOC", "text": f"{identity} in\nParis", "start": 0, "end": 5, "score": 1.0}
            label = {"label": identity, "score": 0.9}
            for name, value in (
                ("labels", {"id": identity, "labels": {"sentiment": label}}),
                ("entities", {"id": identity, "entities": [entity]}),
                ("embeddings", {"id": identity, "embedding": [0.5], "dim": 1, "encoding": "float"}),
            ):
                content = json.dumps(value).encode()
                await producer.send(f"{topic}.{name}", content, key=b"k", headers=headers, partition=0)


async def test_foreign_characters_neither_end_nor_control_what_follows(connection: Connection, topic: str) -> None:
    """Markup and escape sequences in an id are shown as text, and a foreign message is named."""
    await create(connection, topic, num_partitions=1)
    await _publish(connection, topic, ["order[/]", "\x1b[2J\x1b]0;owned\x07\x9b31m"])
    with terminal(columns=200) as (screen, theirs):
        arguments = ("tail", "--from-beginning", "--count", "2")
        tail = _start(connection, topic, *arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        code = tail.wait(timeout=60)
        os.close(theirs)
        shown = screen.read_until("never shown")
    assert code == 0, shown
    assert "order[/]" in shown
    assert "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m" in shown
    assert f"waiting for results in {topic}.embeddings" in shown
    assert f"{topic}.labels-0@0 is no output of a worker" in shown
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]", shown)
    assert not set(re.findall("\x1b.[^m]*.", shown)) - set(re.findall(r"\x1b\[[0-9;]*m", shown))


async def test_a_reader_that_goes_ends_the_command(connection: Connection, topic: str) -> None:
    """`tail` ends after its reader closes the pipe, and after one Ctrl-C while it waits."""
    await create(connection, topic, num_partitions=1)
    await _publish(connection, topic, ["a", "b", "c"])
    tail = _start(connection, topic, "tail", "--from-beginning", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert tail.stdout
    assert tail.stderr
    assert json.loads(tail.stdout.readline())["id"] == "a"
    tail.stdout.close()
    tail.wait(timeout=60)
    assert b"Traceback" not in tail.stderr.read()
    tail.stderr.close()
    tail = _start(connection, topic, "tail", stderr=subprocess.PIPE)
    assert tail.stderr
    assert b"waiting for results" in tail.stderr.readline()
    tail.send_signal(signal.SIGINT)
    assert tail.wait(timeout=60) == 130
    assert b"Traceback" not in tail.stderr.read()
    tail.stderr.close()

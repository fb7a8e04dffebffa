"""Missing rights and topics are reported at once, in one line, by each command and by the start of a worker."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.support.commands import PROGRAM, environment
from tests.security.acls import Acl, read_documented_acls
from tests.security.flow import build_pipeline, create_topics
from worker.broker.admin.group_settings import SESSION_TIMEOUT, find_longer_waits, set_group_settings
from worker.broker.membership.group_probe import probe_group
from worker.broker.membership.protocol_choice import ProtocolChoice
from worker.composition.broker import build_connection
from worker.errors import BrokerUnavailable
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.security.secured_kafka import SecuredKafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

READ, WRITE, CREATE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS, TOPIC, GROUP = 3, 4, 5, 8, 10, 11, 2, 3


def _run_command(secured: SecuredKafka, topic: str, *arguments: str, delivery: str = "exactly_once") -> tuple[int, str]:
    """Run a command as a user with the present ACLs, and return its exit code and its errors: of `check` the failed check."""
    settings = secured.settings("SASLTLS", sasl_mechanism="PLAIN", delivery=delivery, input_topic=topic, group_id=topic)
    ours = {f"GIST_{name.upper()}": str(value) for name, value in settings.items()}
    ended = subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(settings["bootstrap_servers"], topic) | ours | {"COLUMNS": "2000"},
        check=False,
        input="one\n",
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "Traceback" not in ended.stdout + ended.stderr
    failed = [line for line in ended.stdout.splitlines() if line.startswith("wrong")]
    return ended.returncode, "\n".join(failed) or ended.stderr


def _names(topic: str, *endings: str) -> list[str]:
    return [f"{topic}{ending}" for ending in endings]


OUTPUTS = (".embeddings", ".labels", ".entities", ".dlq")


def _only_line(errors: str, rights: Sequence[str]) -> str:
    """Return the only line, after a check that it names exactly these rights."""
    (line,) = errors.splitlines()
    named = line.partition("does not allow ")[2].partition("; docs/operate/security.md lists the required rights")[0]
    assert sorted(named.split(", ")) == sorted(rights), line
    return line


async def test_a_worker_names_all_missing_rights_at_once(secured: SecuredKafka) -> None:
    """The line has the rights for the input, the group, the outputs and the transactions."""
    topic = await create_topics(secured.administration)
    for delivery in ("at_least_once", "exactly_once"):
        wanted = read_documented_acls(delivery, topic=topic, group=topic)
        settings = secured.settings("SASLTLS", sasl_mechanism="PLAIN", delivery=delivery, input_topic=topic, group_id=topic)
        with pytest.raises(BrokerUnavailable) as caught:
            await build_pipeline(settings).run()
        named = str(caught.value).partition("does not allow ")[2].partition(";")[0].split(", ")
        assert sorted(_short(right) for right in named) == sorted(map(str, wanted))


def _short(right: str) -> str:
    operation, _, resource = right.partition(" on the ")
    return f"{operation} on {resource.rpartition(' ')[2]}"


def test_check_names_all_missing_rights_in_one_line(secured: SecuredKafka) -> None:
    """Tasks that are not served need no rights. Checks that need the broker are skipped after that."""
    topic = asyncio.run(create_topics(secured.administration))
    code, errors = _run_command(secured, topic, "check", "--tasks", "embed", delivery="at_least_once")
    operations = [
        f"{operation} on the topic {name}"
        for name in _names(topic, ".embeddings", ".dlq")
        for operation in ("Write", "DescribeConfigs")
    ]
    _only_line(errors, [f"Read on the topic {topic}", f"Read on the group {topic}", *operations])
    assert code == 3


def test_produce_and_tail_name_all_missing_rights(secured: SecuredKafka) -> None:
    topic = asyncio.run(create_topics(secured.administration))
    code, errors = _run_command(secured, topic, "produce")
    assert "does not allow Write on the topic" in _only_line(errors, [f"Write on the topic {topic}"])
    assert code == 3
    code, errors = _run_command(secured, topic, "tail")
    _only_line(errors, [f"Read on the topic {name}" for name in _names(topic, *OUTPUTS)])
    assert code == 3


def test_the_repair_commands_name_all_missing_rights(secured: SecuredKafka) -> None:
    """A command that only reads needs fewer rights."""
    topic = asyncio.run(create_topics(secured.administration))
    dlq, group = f"{topic}.dlq", f"gist-stream-dlq:{topic}.dlq"
    code, errors = _run_command(secured, topic, "dlq", "list")
    _only_line(errors, [f"Read on the topic {dlq}", f"Describe on the group {group}"])
    assert code == 3
    code, errors = _run_command(secured, topic, "dlq", "replay", "--execute")
    needed = [f"Read on the topic {dlq}", f"Read on the group {group}"]
    needed += [f"Write on the transactional ids that begin with gist-stream:{group}:"]
    _only_line(errors, [*needed, f"Write on the topic {topic}", f"DescribeConfigs on the topic {topic}"])
    assert code == 3
    commands = ("lag",), ("offsets", "show"), ("offsets", "reset", "--to-earliest", "--execute")
    for command, operation in zip(commands, ("Describe", "Describe", "Read"), strict=True):
        code, errors = _run_command(secured, topic, *command)
        _only_line(errors, [f"{operation} on the topic {topic}", f"{operation} on the group {topic}"])
        assert code == 3


def test_the_console_names_all_missing_rights(secured: SecuredKafka) -> None:
    """Replays need the rights of `dlq replay` in addition."""
    topic = asyncio.run(create_topics(secured.administration))
    group = f"gist-stream-dlq:{topic}.dlq"
    common = [*(f"Read on the topic {name}" for name in _names(topic, "", *OUTPUTS)), f"Describe on the group {topic}"]
    writing = [f"{operation} on the topic {topic}" for operation in ("Write", "DescribeConfigs")]
    writing += [f"Read on the group {group}", f"Write on the transactional ids that begin with gist-stream:{group}:"]
    for flags, own in (((), [f"Describe on the group {group}"]), (("--allow-replay",), writing)):
        code, errors = _run_command(secured, topic, "console", "--port", "0", *flags)
        _only_line(errors, [*common, *own])
        assert code == 3


def test_a_topic_without_the_right_describe_is_not_reported_as_missing(secured: SecuredKafka) -> None:
    topic = asyncio.run(create_topics(secured.administration))
    code, errors = _run_command(secured, topic, "topics")
    _only_line(errors, [f"Describe on the topic {name}" for name in _names(topic, "", *OUTPUTS)])
    assert code == 3
    code, errors = _run_command(secured, f"{topic}-new", "topics", "--create")
    names = _names(f"{topic}-new", "", *OUTPUTS)
    _only_line(errors, [f"{operation} on the topic {name}" for name in names for operation in ("Create", "Describe")])
    assert code == 3


def test_a_topic_that_was_created_and_is_hidden_is_named(secured: SecuredKafka) -> None:
    """The right to create a topic does not include the right to see the topic."""
    topic = f"texts-{uuid.uuid4().hex[:8]}"
    names = _names(topic, "", *OUTPUTS)
    asyncio.run(secured.allow([Acl("gist", CREATE, TOPIC, name) for name in names]))
    for _ in range(2):
        code, errors = _run_command(secured, topic, "topics", "--create")
        _only_line(errors, [f"Describe on the topic {name}" for name in names])
        assert code == 3
    asyncio.run(secured.allow([Acl("gist", DESCRIBE, TOPIC, name) for name in names]))
    assert _run_command(secured, topic, "topics", "--create") == (0, "")


def test_with_the_named_rights_the_commands_succeed(secured: SecuredKafka) -> None:
    topic = asyncio.run(create_topics(secured.administration))
    dlq_group = f"gist-stream-dlq:{topic}.dlq"
    outputs = [Acl("gist", READ, TOPIC, name) for name in _names(topic, *OUTPUTS)]
    asyncio.run(secured.allow([Acl("gist", WRITE, TOPIC, topic), Acl("gist", READ, GROUP, dlq_group), *outputs]))
    code, errors = _run_command(secured, topic, "produce")
    assert (code, "1 record sent" in errors) == (0, True)
    assert _run_command(secured, topic, "dlq", "list") == (0, "")


async def test_the_session_timeout_of_a_group_needs_rights_of_its_own(secured: SecuredKafka) -> None:
    """Without them it stays, and is not compared. A member of the consumer protocol needs no more rights than a classic member."""
    topic = await create_topics(secured.administration)
    connection = build_connection(read(secured.settings("SASLTLS", sasl_mechanism="PLAIN")))
    wanted_ms = {SESSION_TIMEOUT: 5_500}
    assert "AlterConfigs on the group" in (await set_group_settings(connection, topic, wanted_ms))[SESSION_TIMEOUT]
    assert await find_longer_waits(connection, topic, wanted_ms) == {}
    with pytest.raises(BrokerUnavailable, match=f"Read on the group {topic}"):
        await probe_group(connection, topic, [topic], "consumer")
    await secured.allow([Acl("gist", READ, TOPIC, topic), Acl("gist", READ, GROUP, topic)])
    assert await probe_group(connection, topic, [topic], "consumer") == ProtocolChoice("consumer")
    hidden = await probe_group(connection, topic, [topic], "auto", session_timeout_ms=44_000)
    assert hidden.protocol == "classic"
    assert "DescribeConfigs on the group" in hidden.reason
    assert await probe_group(connection, topic, [topic], "auto") == ProtocolChoice("consumer")
    await secured.allow([Acl("gist", DESCRIBE_CONFIGS, GROUP, topic), Acl("gist", ALTER_CONFIGS, GROUP, topic)])
    assert await find_longer_waits(connection, topic, wanted_ms) == {SESSION_TIMEOUT: 6_000}
    assert await set_group_settings(connection, topic, wanted_ms) == {}


@pytest.mark.parametrize("arguments", [("produce",), ("tail",), ("dlq", "list"), ("lag",), ("topics",)])
def test_a_missing_topic_is_one_line_with_advice(kafka: str, topic: str, arguments: tuple[Any, ...]) -> None:
    """The exit code is that of missing topics."""
    ended = subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(kafka, topic),
        check=False,
        input="one\n",
        capture_output=True,
        text=True,
        timeout=100,
    )
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 4
    assert topic in line
    assert "`gist-stream topics --create`" in line


def test_an_unreachable_broker_is_one_line(topic: str) -> None:
    """`check` skips the checks that need the broker."""
    ended = subprocess.run(
        [*PROGRAM, "check"], env=environment("127.0.0.1:1", topic) | {"COLUMNS": "500"}, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 3
    assert ended.stderr == "gist-stream: the check of broker failed\n"
    assert ended.stdout.count("no broker can be used at 127.0.0.1:1") == 1
    assert "topics     not checked" in ended.stdout

"""The read_documented_acls ACLs: with them a worker works, and without any of them the start names the missing right."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.acls import read_documented_acls
from tests.security.flow import build_pipeline, create_topics, read_outputs, send, serving
from worker.broker.tools.clients import read_to_end
from worker.commands import check
from worker.errors import BrokerUnavailable
from worker.observability.metrics import WorkerTelemetry
from worker.records import Output, Partition
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.security.acls import Acl
    from tests.security.secured_kafka import SecuredKafka

pytestmark = pytest.mark.kafka

MODES = ("at_least_once", "exactly_once")
RESULTS = {Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES}
# The topic of the tests that only start a worker.
LEAST = "least"


def _settings(secured: SecuredKafka, delivery: str, topic: str) -> dict[str, Any]:
    return secured.settings("SASLTLS", sasl_mechanism="PLAIN", delivery=delivery, input_topic=topic, group_id=topic)


@pytest.mark.parametrize("delivery", MODES)
async def test_the_documented_acls_are_sufficient(secured: SecuredKafka, delivery: str) -> None:
    """A worker starts, processes a record, writes a dead letter and stops."""
    topic = await create_topics(secured.administration)
    await secured.allow(read_documented_acls(delivery, topic=topic, group=topic))
    async with serving(_settings(secured, delivery, topic)):
        await send(secured.administration, topic, "hello")
        assert await read_outputs(secured.administration, topic, "hello") == RESULTS
        await send(secured.administration, topic, " ")
        assert await read_outputs(secured.administration, topic, " ") == {Output.DEAD_LETTERS}


def test_check_needs_only_the_documented_acls(
    secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "_check_model", lambda _settings, _warnings: "in memory")
    asyncio.run(create_topics(secured.administration, LEAST))
    asyncio.run(secured.allow(read_documented_acls("exactly_once", topic=LEAST, group=LEAST)))
    check.check(read(_settings(secured, "exactly_once", LEAST)))
    shown = capsys.readouterr().out
    assert shown.count("ok ") == 6
    assert f"{LEAST}.dlq (1)" in shown.replace("\n", " ")


@pytest.mark.parametrize(
    ("delivery", "number"), [(mode, number) for mode in MODES for number in range(len(read_documented_acls(mode)))], ids=str
)
async def test_each_documented_acl_is_necessary(secured: SecuredKafka, delivery: str, number: int) -> None:
    """Without one ACL the start fails with a line that names the right."""
    await create_topics(secured.administration, LEAST)
    acls = read_documented_acls("exactly_once", topic=LEAST, group=LEAST)
    missing = read_documented_acls(delivery, topic=LEAST, group=LEAST)[number]
    await secured.allow(acls)
    await secured.forbid([missing])
    with pytest.raises(BrokerUnavailable) as caught:
        await build_pipeline(_settings(secured, delivery, LEAST)).run()
    assert str(caught.value).startswith(f"127.0.0.1:{secured.ports['SASLTLS']} does not allow {_operation(missing)} on the ")
    assert missing.name in str(caught.value)
    assert "\n" not in str(caught.value)


def _operation(acl: Acl) -> str:
    return str(acl).split(" ", maxsplit=1)[0]


def _is(operation: str, ending: str) -> Callable[[Acl], bool]:
    return lambda acl: str(acl).startswith(f"{operation} on ") and acl.name.endswith(ending)


@pytest.mark.parametrize("delivery", MODES)
@pytest.mark.parametrize("ending", [".labels", ".dlq"])
async def test_without_the_right_to_write_a_partition_waits_until_it_is_restored(
    secured: SecuredKafka, delivery: str, ending: str
) -> None:
    """No record is lost or becomes a dead letter."""
    text = "after" if ending == ".labels" else " "
    await _remove_and_restore(secured, delivery, _is("Write", ending), text)


@pytest.mark.parametrize("delivery", MODES)
@pytest.mark.parametrize("kind", [2, 3], ids=["topic", "group"])
async def test_without_the_right_to_read_the_worker_waits_until_it_is_restored(
    secured: SecuredKafka, delivery: str, kind: int
) -> None:
    """The worker leaves the group, and checks the ACLs until it may read again."""
    await _remove_and_restore(
        secured, delivery, lambda acl: str(acl).startswith("Read") and acl.kind == kind and "." not in acl.name, "after"
    )


async def test_without_the_transactional_id_a_partition_waits_until_it_is_restored(secured: SecuredKafka) -> None:
    await _remove_and_restore(secured, "exactly_once", lambda acl: acl.kind == 5, "after")


async def _remove_and_restore(secured: SecuredKafka, delivery: str, is_taken: Callable[[Acl], bool], text: str) -> None:
    topic = await create_topics(secured.administration)
    acls = read_documented_acls(delivery, topic=topic, group=topic)
    taken = [acl for acl in acls if is_taken(acl)]
    assert len(taken) == 1
    await secured.allow(acls)
    telemetry = WorkerTelemetry()
    async with serving(_settings(secured, delivery, topic), telemetry):
        await send(secured.administration, topic, "before")
        assert await read_outputs(secured.administration, topic, "before") == RESULTS
        await secured.forbid(taken)
        await send(secured.administration, topic, text)
        # The worker has failed at least twice.
        while _failures(telemetry) < 2:  # noqa: ASYNC110  metrics send no notification
            await asyncio.sleep(0.02)
        assert not await _dead_letters(secured, topic)
        await secured.allow(taken)
        expected = RESULTS if text.strip() else {Output.DEAD_LETTERS}
        assert await read_outputs(secured.administration, topic, text) == expected
    assert len(await _dead_letters(secured, topic)) == (not text.strip())


def _failures(telemetry: WorkerTelemetry) -> float:
    names = ("gist_partition_session_failures_total", "gist_step_retries_total")
    return sum(sample.value for metric in telemetry.registry.collect() for sample in metric.samples if sample.name in names)


async def _dead_letters(secured: SecuredKafka, topic: str) -> list[bytes | None]:
    start = {Partition(f"{topic}.dlq", 0): 0}
    return [record.value async for records in read_to_end(secured.administration, start) for record in records]

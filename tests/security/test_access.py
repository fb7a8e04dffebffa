"""The least access that is documented: with it a worker works, without any part of it the start says which part is missing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.security.acls import documented
from tests.security.flow import created, pipeline, results, send, serving
from worker.broker.tools.clients import read_to_end
from worker.commands import check
from worker.errors import BrokerUnavailable
from worker.observability.metrics import Telemetry
from worker.records import Output, Partition
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.security.acls import Acl
    from tests.security.secured_kafka import SecuredKafka

pytestmark = pytest.mark.kafka

MODES = ("at_least_once", "exactly_once")
RESULTS = {Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES}
# One topic for the tests that only start.
LEAST = "least"


def _settings(secured: SecuredKafka, delivery: str, topic: str) -> dict[str, Any]:
    return secured.settings("SASLTLS", sasl_mechanism="PLAIN", delivery=delivery, input_topic=topic, group_id=topic)


@pytest.mark.parametrize("delivery", MODES)
async def test_what_is_documented_is_enough(secured: SecuredKafka, delivery: str) -> None:
    """From the start through a record and a dead letter to the end."""
    topic = await created(secured.administration)
    await secured.allow(documented(delivery, topic=topic, group=topic))
    async with serving(_settings(secured, delivery, topic)):
        await send(secured.administration, topic, "hello")
        assert await results(secured.administration, topic, "hello") == RESULTS
        await send(secured.administration, topic, " ")
        assert await results(secured.administration, topic, " ") == {Output.DEAD_LETTERS}


def test_the_check_needs_no_more_than_a_worker(
    secured: SecuredKafka, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same rights everything is well."""
    monkeypatch.setattr(check, "load_engine", lambda _settings: None)
    monkeypatch.setattr(check, "_described", lambda _engine: "in memory")
    asyncio.run(created(secured.administration, LEAST))
    asyncio.run(secured.allow(documented("exactly_once", topic=LEAST, group=LEAST)))
    check.check(read(_settings(secured, "exactly_once", LEAST)))
    shown = capsys.readouterr().out
    assert shown.count("ok ") == 6
    assert f"{LEAST}.dlq (1)" in shown.replace("\n", " ")


@pytest.mark.parametrize(
    ("delivery", "number"), [(mode, number) for mode in MODES for number in range(len(documented(mode)))], ids=str
)
async def test_nothing_of_it_is_too_much(secured: SecuredKafka, delivery: str, number: int) -> None:
    """A start without one of the rights ends with a line that names it."""
    await created(secured.administration, LEAST)
    acls = documented("exactly_once", topic=LEAST, group=LEAST)
    missing = documented(delivery, topic=LEAST, group=LEAST)[number]
    await secured.allow(acls)
    await secured.forbid([missing])
    with pytest.raises(BrokerUnavailable) as caught:
        await pipeline(_settings(secured, delivery, LEAST)).run()
    assert str(caught.value).startswith(f"127.0.0.1:{secured.ports['SASLTLS']} does not allow us {_operation(missing)} on the ")
    assert missing.name in str(caught.value)
    assert "\n" not in str(caught.value)


def _operation(acl: Acl) -> str:
    return str(acl).split(" ", maxsplit=1)[0]


def _is(operation: str, ending: str) -> Callable[[Acl], bool]:
    return lambda acl: str(acl).startswith(f"{operation} on ") and acl.name.endswith(ending)


@pytest.mark.parametrize("delivery", MODES)
@pytest.mark.parametrize("ending", [".labels", ".dlq"])
async def test_a_right_to_write_that_is_taken_away_stops_the_work_until_it_is_back(
    secured: SecuredKafka, delivery: str, ending: str
) -> None:
    """Nothing is parked and nothing lost: the partition waits and goes on when it may."""
    text = "after" if ending == ".labels" else " "
    await _taken_away(secured, delivery, _is("Write", ending), text)


@pytest.mark.parametrize("delivery", MODES)
@pytest.mark.parametrize("kind", [2, 3], ids=["topic", "group"])
async def test_a_right_to_read_that_is_taken_away_stops_the_work_until_it_is_back(
    secured: SecuredKafka, delivery: str, kind: int
) -> None:
    """Of the input topic or of the group: the worker leaves the group and asks again until it may."""
    await _taken_away(
        secured, delivery, lambda acl: str(acl).startswith("Read") and acl.kind == kind and "." not in acl.name, "after"
    )


async def test_a_transactional_id_that_is_taken_away_stops_the_work_until_it_is_back(secured: SecuredKafka) -> None:
    """As any other right."""
    await _taken_away(secured, "exactly_once", lambda acl: acl.kind == 5, "after")


async def _taken_away(secured: SecuredKafka, delivery: str, is_taken: Callable[[Acl], bool], text: str) -> None:
    topic = await created(secured.administration)
    acls = documented(delivery, topic=topic, group=topic)
    taken = [acl for acl in acls if is_taken(acl)]
    assert len(taken) == 1
    await secured.allow(acls)
    telemetry = Telemetry()
    async with serving(_settings(secured, delivery, topic), telemetry):
        await send(secured.administration, topic, "before")
        assert await results(secured.administration, topic, "before") == RESULTS
        await secured.forbid(taken)
        await send(secured.administration, topic, text)
        # It is tried more than once, and each time in vain.
        while _failures(telemetry) < 2:  # noqa: ASYNC110  metrics tell nobody
            await asyncio.sleep(0.02)
        assert not await _dead_letters(secured, topic)
        await secured.allow(taken)
        expected = RESULTS if text.strip() else {Output.DEAD_LETTERS}
        assert await results(secured.administration, topic, text) == expected
    assert len(await _dead_letters(secured, topic)) == (not text.strip())


def _failures(telemetry: Telemetry) -> float:
    names = ("gist_partition_session_failures_total", "gist_step_retries_total")
    return sum(sample.value for metric in telemetry.registry.collect() for sample in metric.samples if sample.name in names)


async def _dead_letters(secured: SecuredKafka, topic: str) -> list[bytes | None]:
    start = {Partition(f"{topic}.dlq", 0): 0}
    return [it.value async for records in read_to_end(secured.administration, start) for it in records]

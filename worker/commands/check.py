"""Say what is wrong before it goes wrong: topics and everything that a worker leans on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text

from worker.broker.admin import topics as admin
from worker.broker.admin.permissions import Right, build_topic_rights
from worker.broker.consumer.membership import Membership, check_group
from worker.broker.delivery.exactly_once import build_transactional_right, check_transactions
from worker.broker.delivery.output_topics import OutputTopics
from worker.commands.terminal import Terminal
from worker.commands.variables import find_warnings
from worker.composition.broker import build_connection, create_topics, served_tasks_of, used_topics_of
from worker.composition.model import load_engine
from worker.errors import FatalError, TopicsMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.model.engine import Engine
    from worker.records import Output
    from worker.settings import Settings

# What cannot be checked where no broker answers, or refuses what a worker needs.
_NEED_BROKER = frozenset({"group", "delivery", "topics"})


def topics(settings: Settings, *, create: bool) -> None:
    """List the topics of a worker, or create those that are missing; raises `TopicsMissing` where some are.

    A task that is not served needs no topic.
    """
    console, tasks = Terminal(), served_tasks_of(settings)
    if create:
        for name in asyncio.run(create_topics(settings, tasks)):
            console.print(f"created {name}")
    wanted = [*settings.input_topics, *used_topics_of(settings, tasks).values()]
    there = asyncio.run(_visible(build_connection(settings), wanted))
    for name in wanted:
        console.print(f"{name:40} {f'{there[name]} partitions' if name in there else 'missing'}")
    if missing := [name for name in wanted if name not in there]:
        raise TopicsMissing(f"missing: {', '.join(missing)}; create them with `gist-stream topics --create`")


async def _visible(connection: Connection, wanted: Sequence[str]) -> dict[str, int]:
    """Return the partitions of the topics that are there; raises `BrokerUnavailable` where some are hidden from us."""
    await admin.check_rights(connection, build_topic_rights(["Describe"], wanted))
    return await admin.count_partitions(connection, wanted)


def check(settings: Settings) -> None:
    """Print a line for each thing that must be right; raises the first `FatalError` after all were tried."""
    console = Terminal()
    connection = build_connection(settings)
    used = used_topics_of(settings, served_tasks_of(settings))
    steps: dict[str, Callable[[], str]] = {
        "settings": lambda: _shown_settings(settings, used),
        "broker": lambda: _answers(settings, connection, used),
        "group": lambda: _joins(settings),
        "delivery": lambda: _delivers(settings),
        "topics": lambda: _shown(asyncio.run(_topics(settings, connection, used))),
        "model": lambda: _described(load_engine(settings)),
    }
    for warning in find_warnings():
        console.print(Text("warn", "yellow"), f" {'settings':10} {warning}")
    stops = dict[str, FatalError]()
    for name, step in steps.items():
        if "broker" in stops and name in _NEED_BROKER:
            console.print(Text("?", "dim"), f"    {name:10} not checked: the broker comes first")
            continue
        try:
            console.print(Text("ok", "green"), f"   {name:10} {step()}")
        except FatalError as stop:
            console.print(Text("wrong", "red"), f"{name:10} {stop}")
            stops[name] = stop
    if stops:
        raise next(iter(stops.values()))


def _shown_settings(settings: Settings, used: Mapping[Output, str]) -> str:
    topics = f"{', '.join(settings.input_topics)} → {', '.join(used.values())}"
    return f"brokers {settings.bootstrap_servers}, group {settings.group_id}, {topics}"


def _answers(settings: Settings, connection: Connection, used: Mapping[Output, str]) -> str:
    """Ask for all rights that a worker needs, and no more: who checks may be the worker itself."""
    is_exact = settings.delivery == "exactly_once"
    rights = OutputTopics(used).rights(check_read=is_exact)
    rights += [*build_topic_rights(["Read"], settings.input_topics), Right("Read", "group", settings.group_id)]
    rights += [build_transactional_right(settings.group_id)] * is_exact
    asyncio.run(admin.check_rights(connection, rights))
    return f"{settings.bootstrap_servers} answers"


def _joins(settings: Settings) -> str:
    membership = Membership(
        topics=settings.input_topics,
        group_id=settings.group_id,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
        group_instance_id=settings.group_instance_id,
    )
    asyncio.run(check_group(build_connection(settings), membership))
    return f"{settings.group_id} takes this worker"


def _delivers(settings: Settings) -> str:
    if settings.delivery == "exactly_once":
        timeout_s = settings.transaction_timeout_ms / 1000
        connection, allows = build_connection(settings), settings.allow_old_brokers
        asyncio.run(
            check_transactions(connection, group_id=settings.group_id, transaction_timeout_s=timeout_s, allow_old_brokers=allows)
        )
    return settings.delivery.replace("_", " ")


def _described(engine: Engine) -> str:
    described = f"{engine.name} on {engine.description}: {', '.join(sorted(engine.tasks))}; {engine.because}"
    if engine.backend.name != "int8" or not engine.difference:
        return described
    cosines = ", ".join(f"{it} {engine.difference[f'{it}_cosine']:.4f}" for it in ("min", "mean"))
    return f"{described}; cosine to fp32 when it was calibrated: {cosines}"


async def _topics(settings: Settings, connection: Connection, used: Mapping[Output, str]) -> dict[str, int]:
    """Return the partitions of each topic."""
    partitions = await admin.count_all_partitions(connection, [*settings.input_topics, *used.values()])
    await OutputTopics(used).describe(connection, check_read=settings.delivery == "exactly_once")
    return partitions


def _shown(partitions: dict[str, int]) -> str:
    return ", ".join(f"{name} ({number})" for name, number in partitions.items())

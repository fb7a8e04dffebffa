"""Say what is wrong before it goes wrong: topics and everything that a worker leans on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text

from worker.broker import topics as admin
from worker.broker.membership import Membership, check_group
from worker.broker.outputs import OutputTopics
from worker.broker.transactions import check_transactions
from worker.commands.terminal import Terminal
from worker.commands.variables import find_warnings
from worker.commands.wiring import connection_of, create_topics, load_engine, topics_of
from worker.errors import Stop, TopicsMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.broker.connection import Connection
    from worker.model.engine import Engine
    from worker.settings import Settings


def topics(settings: Settings, *, create: bool) -> None:
    """List the topics of a worker, or create those that are missing; raises `TopicsMissing` where some are."""
    console = Terminal()
    if create:
        for name in asyncio.run(create_topics(settings)):
            console.print(f"created {name}")
    wanted = [*settings.input_topics, *topics_of(settings).values()]
    there = asyncio.run(admin.partitions_of(connection_of(settings), wanted))
    for name in wanted:
        console.print(f"{name:40} {f'{there[name]} partitions' if name in there else 'missing'}")
    if missing := [name for name in wanted if name not in there]:
        raise TopicsMissing(f"missing: {', '.join(missing)}; create them with `gist-stream topics --create`")


def check(settings: Settings) -> None:
    """Print a line for each thing that must be right; raises the first `Stop` after all were tried."""
    console = Terminal()
    connection = connection_of(settings)
    steps: dict[str, Callable[[], str]] = {
        "settings": lambda: _shown_settings(settings),
        "broker": lambda: f"{settings.bootstrap_servers} answers" if _answers(settings) is not None else "",
        "group": lambda: _joins(settings),
        "delivery": lambda: _delivers(settings),
        "topics": lambda: _shown(asyncio.run(_topics(settings, connection))),
        "model": lambda: _described(load_engine(settings)),
    }
    for warning in find_warnings():
        console.print(Text("warn", "yellow"), f" {'settings':10} {warning}")
    stops = []
    for name, step in steps.items():
        try:
            console.print(Text("ok", "green"), f"   {name:10} {step()}")
        except Stop as stop:
            console.print(Text("wrong", "red"), f"{name:10} {stop}")
            stops.append(stop)
    if stops:
        raise stops[0]


def _shown_settings(settings: Settings) -> str:
    topics = f"{', '.join(settings.input_topics)} → {', '.join(settings.output_topics)}"
    return f"brokers {settings.bootstrap_servers}, group {settings.group_id}, {topics}"


def _answers(settings: Settings) -> object:
    return asyncio.run(admin.partitions_of(connection_of(settings), settings.input_topics))


def _joins(settings: Settings) -> str:
    membership = Membership(
        topics=settings.input_topics,
        group_id=settings.group_id,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
        group_instance_id=settings.group_instance_id,
    )
    asyncio.run(check_group(connection_of(settings), membership))
    return f"{settings.group_id} takes this worker"


def _delivers(settings: Settings) -> str:
    if settings.delivery == "exactly_once":
        timeout_s = settings.transaction_timeout_ms / 1000
        connection, allows = connection_of(settings), settings.allow_old_brokers
        asyncio.run(
            check_transactions(connection, group_id=settings.group_id, transaction_timeout_s=timeout_s, allow_old_brokers=allows)
        )
    return settings.delivery.replace("_", " ")


def _described(engine: Engine) -> str:
    described = f"{engine.name} on {engine.description}: {', '.join(sorted(engine.tasks))}"
    if engine.backend.name != "int8" or not engine.difference:
        return described
    cosines = ", ".join(f"{it} {engine.difference[f'{it}_cosine']:.4f}" for it in ("min", "mean"))
    return f"{described}; cosine to fp32 when it was calibrated: {cosines}"


async def _topics(settings: Settings, connection: Connection) -> dict[str, int]:
    """Return the partitions of each topic; asks for all that a worker does, and no more: the rights may be its own."""
    partitions = await admin.all_partitions_of(connection, [*settings.input_topics, *settings.output_topics])
    await OutputTopics(topics_of(settings)).describe(connection, are_read=settings.delivery == "exactly_once")
    return partitions


def _shown(partitions: dict[str, int]) -> str:
    return ", ".join(f"{name} ({number})" for name, number in partitions.items())

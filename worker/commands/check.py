"""Check the topics, and everything else that a worker needs, before it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from worker.broker.admin import topics as admin
from worker.broker.admin.group_check import check_group
from worker.broker.admin.groups import GroupDescription, describe_group
from worker.broker.admin.permissions import Right, build_topic_rights
from worker.broker.consumer.membership import Membership
from worker.broker.delivery.exactly_once import build_check_id, build_transactional_right, check_transactions
from worker.broker.delivery.output_topics import OutputTopics
from worker.broker.delivery.probe import probe_delivery
from worker.broker.membership.group_probe import probe_group
from worker.commands.terminal import Terminal, count_noun, json_line
from worker.commands.variables import find_warnings
from worker.composition.api import describe_access
from worker.composition.broker import build_connection, create_topics, find_served_tasks, list_used_topics, map_routes
from worker.composition.group import apply_group_settings, describe_longer_waits
from worker.composition.model import ModelLoader
from worker.composition.registry import describe_registry
from worker.errors import FatalError, TopicsMissing
from worker.records import Output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from worker.broker.connection.connection import Connection
    from worker.model.engine import Engine
    from worker.settings import Settings

# The checks without which a check is skipped.
_NEEDED = {name: {"broker"} for name in ("group", "delivery", "topics")} | {"probe": {"broker", "delivery", "topics"}}
_STYLES = {"ok": "green", "warn": "yellow", "skip": "dim", "wrong": "red"}


def topics(
    settings: Settings,
    *,
    create: Annotated[bool, typer.Option("--create", help="Create the missing topics. Existing topics are not changed.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the topics of a worker with these settings, with their partitions; exit with 4 if a topic is missing.

    A task that the model does not serve needs no topic. --create acts at once, because it only adds topics: without this flag, the
    command shows which topics are missing. Unless GIST_GROUP_PROTOCOL is `classic`, --create also sets the session timeout of the
    group, if the brokers allow it.
    """
    console, tasks = Terminal(), find_served_tasks(settings)
    created = asyncio.run(create_topics(settings, tasks)) if create else []
    group_settings = asyncio.run(apply_group_settings(settings)) if create else {}
    wanted = [*settings.input_topics, *list_used_topics(settings, tasks)]
    existing = asyncio.run(_count_visible(build_connection(settings), wanted))
    if is_json:
        found = [{"name": name, "partitions": existing.get(name)} for name in wanted]
        print(json_line({"topics": found, "created": created, "group_settings": group_settings}))  # noqa: T201
    else:
        for name in created:
            console.print(f"created {name}")
        for name, result in group_settings.items():
            console.print(f"group {settings.group_id}: {name} {result}")
        for name in wanted:
            console.print(f"{name:40} {count_noun(existing[name], 'partition') if name in existing else 'missing'}")
    if missing := [name for name in wanted if name not in existing]:
        raise TopicsMissing(f"missing: {', '.join(missing)}; create them with `gist-stream topics --create`")


async def _count_visible(connection: Connection, wanted: Sequence[str]) -> dict[str, int]:
    """Return the partitions of the existing topics; raises `BrokerUnavailable` if the worker may not see a topic."""
    await admin.check_rights(connection, build_topic_rights(["Describe"], wanted))
    return await admin.count_partitions(connection, wanted)


def check(
    settings: Settings,
    *,
    has_probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Publish a record with the compression and the delivery of the worker, and name what the cluster refuses. With "
            "exactly_once the transaction is aborted; with at_least_once the record remains in the dead-letter topic.",
        ),
    ] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Print a JSON line for each check.")] = False,
) -> None:
    """Check settings, broker, group, delivery, topics, schema registry and model; print a line for each, with advice.

    The exit code is that of the first check that fails. Without --probe no record is written, and none is read. A group of the
    `classic` protocol that has no members is joined and left at once; a group with members is not joined.
    """
    warnings: list[str] = []
    steps = _list_steps(settings, warnings, has_probe=has_probe)
    report = _print_json if is_json else _print_line
    for warning in find_warnings():
        report("warn", "settings", warning)
    failures = dict[str, FatalError]()
    for name, step in steps.items():
        if found := failures.keys() & _NEEDED.get(name, set()):
            report("skip", name, f"not checked, because the check of the {min(found)} failed")
            continue
        try:
            report("ok", name, step())
            for warning in warnings:
                report("warn", name, warning)
            warnings.clear()
        except FatalError as error:
            report("wrong", name, str(error))
            failures[name] = error
    if failures:
        # The lines above have the reasons.
        raise type(next(iter(failures.values())))(f"the check of {' and '.join(failures)} failed")


def _list_steps(settings: Settings, warnings: list[str], *, has_probe: bool) -> dict[str, Callable[[], str]]:
    """Return the checks by name, in order. A check returns its line, and may add warnings."""
    connection = build_connection(settings)
    used = map_routes(settings, find_served_tasks(settings))
    steps: dict[str, Callable[[], str]] = {
        "settings": lambda: _describe_settings(settings, used),
        "broker": lambda: _check_broker(settings, connection, used),
        "group": lambda: _check_group(settings, warnings),
        "delivery": lambda: _check_delivery(settings),
        "topics": lambda: asyncio.run(_check_topics(settings, connection, used)),
    }
    if has_probe:
        steps["probe"] = lambda: _probe(settings, used)
    if settings.schema_registry_url:
        steps["registry"] = lambda: asyncio.run(describe_registry(settings, find_served_tasks(settings), warnings.append))
    if settings.api:
        steps["endpoint"] = lambda: describe_access(settings, warnings.append)
    return steps | {"model": lambda: _check_model(settings, warnings)}


def _print_line(status: str, name: str, message: str) -> None:
    Terminal().print(Text(f"{status:5}", _STYLES[status]), f"{name:10} {message}")


def _print_json(status: str, name: str, message: str) -> None:
    print(json_line({"check": name, "status": status, "message": message}))  # noqa: T201


def _describe_settings(settings: Settings, used: Mapping[str, Mapping[Output, str]]) -> str:
    # The backfill topic has the outputs of the input topic.
    inputs_by_outputs: dict[tuple[str, ...], list[str]] = {}
    for topic, route in used.items():
        inputs_by_outputs.setdefault(tuple(route.values()), []).append(topic)
    topics = "; ".join(f"{', '.join(inputs)} → {', '.join(outputs)}" for outputs, inputs in inputs_by_outputs.items())
    return f"brokers {settings.bootstrap_servers}, group {settings.group_id}, {topics}"


def _check_broker(settings: Settings, connection: Connection, used: Mapping[str, Mapping[Output, str]]) -> str:
    """Check the rights of a worker and no others: the user of the command may be that of the worker."""
    is_exact = settings.delivery == "exactly_once"
    rights = OutputTopics(used).rights(check_read=is_exact)
    rights += [*build_topic_rights(["Read"], settings.input_topics), Right("Read", "group", settings.group_id)]
    rights += [build_transactional_right(settings.group_id)] * is_exact
    asyncio.run(admin.check_rights(connection, rights))
    return f"{settings.bootstrap_servers} answers"


def _check_group(settings: Settings, warnings: list[str]) -> str:
    connection, topics = build_connection(settings), settings.input_topics
    probing = probe_group(
        connection, settings.group_id, topics, settings.group_protocol, session_timeout_ms=settings.session_timeout_ms
    )
    choice = asyncio.run(probing)
    if choice.protocol == "classic":
        warnings.extend([choice.reason] * bool(choice.reason))
        group = _check_classic_group(settings, connection)
    else:
        warnings.extend(asyncio.run(describe_longer_waits(settings)))
        group = asyncio.run(describe_group(connection, settings.group_id))
    joined = "; not joined" if group.members else ""
    members = group.describe_for(choice.protocol)
    return f"{settings.group_id} accepts this worker with the {choice.protocol} protocol; the group: {members}{joined}"


def _check_classic_group(settings: Settings, connection: Connection) -> GroupDescription:
    membership = Membership(
        topics=settings.input_topics,
        group_id=settings.group_id,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_interval_ms=settings.heartbeat_interval_ms,
        rebalance_timeout_ms=settings.rebalance_timeout_ms,
        group_instance_id=settings.group_instance_id,
    )
    return asyncio.run(check_group(connection, membership))


def _check_delivery(settings: Settings) -> str:
    if settings.delivery == "exactly_once":
        timeout_s = settings.transaction_timeout_ms / 1000
        connection, allows = build_connection(settings), settings.allow_old_brokers
        asyncio.run(
            check_transactions(connection, group_id=settings.group_id, transaction_timeout_s=timeout_s, allow_old_brokers=allows)
        )
    return settings.delivery.replace("_", " ")


def _probe(settings: Settings, used: Mapping[str, Mapping[Output, str]]) -> str:
    """Publish a record: to all topics in a transaction that is aborted, or to one dead-letter topic."""
    is_exact = settings.delivery == "exactly_once"
    topics = [*dict.fromkeys(topic for route in used.values() for topic in route.values())]
    dead_letters, connection = next(iter(used.values()))[Output.DEAD_LETTERS], build_connection(settings)
    asyncio.run(admin.check_usable(connection, build_topic_rights(["Write"], topics)))
    asyncio.run(
        probe_delivery(
            connection,
            [*(topic for topic in topics if topic != dead_letters), dead_letters] if is_exact else [dead_letters],
            compression=None if settings.compression == "none" else settings.compression,
            transactional_id=build_check_id(settings.group_id) if is_exact else None,
            transaction_timeout_s=settings.transaction_timeout_ms / 1000,
        )
    )
    return f"the cluster accepts {settings.compression} and idempotent writes" + (" in transactions" if is_exact else "")


def _check_model(settings: Settings, warnings: list[str]) -> str:
    """Return a line about each encoder of the model, and add its warnings."""
    engines = ModelLoader(settings).load(settings.model).engines
    warnings.extend(warning for engine in engines for warning in engine.warnings)
    return "\n".join(f"{_describe_engine(engine)}; {engine.abilities}" for engine in engines)


def _describe_engine(engine: Engine) -> str:
    described = f"{engine.name} on {engine.description}: {', '.join(sorted(engine.tasks))}; {engine.because}"
    if "int8" not in engine.description or not engine.difference:
        return described
    cosines = ", ".join(f"{name} {engine.difference[f'{name}_cosine']:.4f}" for name in ("min", "mean"))
    return f"{described}; cosine to fp32 at the calibration: {cosines}"


async def _check_topics(settings: Settings, connection: Connection, used: Mapping[str, Mapping[Output, str]]) -> str:
    """Return the topics with their partitions. Topics that the worker creates at its start may be missing."""
    wanted = [*settings.input_topics, *dict.fromkeys(name for route in used.values() for name in route.values())]
    count = admin.count_partitions if settings.create_topics else admin.count_all_partitions
    partitions = await count(connection, wanted)
    existing = {topic: {output: name for output, name in route.items() if name in partitions} for topic, route in used.items()}
    await OutputTopics(existing).describe(connection, check_read=settings.delivery == "exactly_once")
    missing = [name for name in wanted if name not in partitions]
    created = [f"missing, created at the start: {', '.join(missing)}"] if missing else []
    return ", ".join([*(f"{name} ({number})" for name, number in partitions.items()), *created])

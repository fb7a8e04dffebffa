"""Describe and create the topics of the worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from worker.broker.admin.client import admin_client
from worker.broker.admin.permissions import Operation, Right, build_refusal, build_topic_rights, check_access, find_missing_rights
from worker.broker.client_internals import get_network_client
from worker.errors import TopicsMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from worker.broker.connection.connection import Connection

# The settings of a topic that matter to the worker. A broker omits settings that it does not know.
_CONFIGURATION = (
    "max.message.bytes",
    "segment.bytes",
    "cleanup.policy",
    "min.insync.replicas",
    "message.timestamp.type",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    # The limit for both directions before Kafka 3.6.
    "message.timestamp.difference.max.ms",
)
_TIMESTAMP_LIMITS = tuple(name for name in _CONFIGURATION if name.endswith(".max.ms"))
# Interval of the checks whether a new topic is known, in seconds.
_POLL_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """The properties of a topic that matter to the worker."""

    num_partitions: int
    #: The largest batch that the topic accepts.
    max_message_bytes: int
    #: Whether the topic is compacted, so that it refuses a record without a key.
    is_compacted: bool = False
    #: The smallest number of replicas of its partitions.
    num_replicas: int = 1
    #: The number of in-sync replicas that a write needs.
    min_insync_replicas: int = 1
    #: The largest difference of a record's timestamp from the broker's clock, in milliseconds; None means no limit.
    max_clock_difference_ms: int | None = None


async def describe_topics(
    connection: Connection, names: Sequence[str], *, check_write: bool = False, check_read: bool = False
) -> dict[str, TopicInfo]:
    """Return the properties of topics. Raises `TopicsMissing` and `BrokerUnavailable`.

    With `check_write` and `check_read` it also raises `BrokerUnavailable` if the ACLs do not allow that access.
    """
    async with admin_client(connection) as admin:
        operations: list[Operation] = ["DescribeConfigs"]
        operations += ["Write"] * check_write
        operations += ["Read"] * check_read
        await check_access(connection, get_network_client(admin), build_topic_rights(operations, names))
        partitions = await _count_all_partitions(connection, admin, names)
        described = {str(topic["topic"]): topic["partitions"] for topic in await admin.describe_topics(list(names))}
        configurations = await _fetch_configurations(connection, admin, names)
    replicas = {name: min((len(partition["replicas"]) for partition in described.get(name, ())), default=1) for name in names}
    return {name: _build_topic_info(partitions[name], replicas[name], configurations[name]) for name in names}


async def create_missing(
    connection: Connection,
    wanted: Mapping[str, int],
    *,
    replication_factor: int = 0,
    configuration: Mapping[str, str] | None = None,
) -> list[str]:
    """Create the missing topics of `wanted`, which maps names to numbers of partitions, and return their names.

    A `replication_factor` of 0 means three, or the number of brokers if that is smaller. `configuration` applies to each new topic.
    Raises `TopicsMissing` if the broker refuses, and `BrokerUnavailable`.
    """
    async with admin_client(connection) as admin:
        existing = await count_existing_partitions(admin, list(wanted))
        replicas = replication_factor or min(3, len((await admin.describe_cluster())["brokers"]))
        new = [
            NewTopic(name, num_partitions, replicas, topic_configs=dict(configuration or {}))
            for name, num_partitions in wanted.items()
            if name not in existing
        ]
        if not new:
            return []
        response = await admin.create_topics(new)
        denied = [name for name, code, *_ in response.topic_errors if code == TopicAuthorizationFailedError.errno]
        # Kafka's right to create a topic does not include the right to see the topic.
        hidden = await find_missing_rights(
            get_network_client(admin), build_topic_rights(["Describe"], [topic.name for topic in new])
        )
        if missing := [*build_topic_rights(["Create"], denied), *hidden]:
            raise build_refusal(connection, *missing)
        for name, code, *message in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise TopicsMissing(f"the topic {name} could not be created: {message[0] if message else for_code(code).__name__}")
        await connection.connect(_wait_until_known(admin, [topic.name for topic in new]))
    return [topic.name for topic in new]


async def count_all_partitions(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of partitions of topics. Raises `TopicsMissing` and `BrokerUnavailable`.

    This function does not need the right DescribeConfigs.
    """
    async with admin_client(connection) as admin:
        return await _count_all_partitions(connection, admin, names)


async def check_rights(connection: Connection, rights: Sequence[Right]) -> None:
    """Raise `BrokerUnavailable` if no broker answers or if rights are missing. One line names all missing rights."""
    async with admin_client(connection) as admin:
        await check_access(connection, get_network_client(admin), rights)


async def check_usable(connection: Connection, rights: Sequence[Right]) -> dict[str, int]:
    """Return the numbers of partitions of the topics that these rights name.

    Raises `BrokerUnavailable` for missing rights and `TopicsMissing` for missing topics. One line names all of them.
    """
    async with admin_client(connection) as admin:
        await check_access(connection, get_network_client(admin), rights)
        names = list(dict.fromkeys(right.name for right in rights if right.kind == "topic"))
        return await _count_all_partitions(connection, admin, names, asks_name=True)


async def list_topics(connection: Connection) -> list[str]:
    """Return the names of the topics that the ACLs let the worker see. Raises `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        return list(await admin.list_topics())


async def count_partitions(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of partitions of the topics that exist. Raises `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        return await count_existing_partitions(admin, names)


async def count_existing_partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return the numbers of partitions of existing topics. Brokers may create a missing topic that a request names."""
    existing = set(await admin.list_topics())
    wanted = [name for name in names if name in existing]
    described = await admin.describe_topics(wanted) if wanted else []
    return {str(topic["topic"]): len(topic["partitions"]) for topic in described if not topic["error_code"]}


async def _count_all_partitions(
    connection: Connection, admin: AIOKafkaAdminClient, names: Sequence[str], *, asks_name: bool = False
) -> dict[str, int]:
    partitions = await count_existing_partitions(admin, names)
    if missing := [name for name in names if name not in partitions]:
        await check_access(connection, get_network_client(admin), build_topic_rights(["Describe"], missing))
        raise TopicsMissing(build_missing(connection, missing, asks_name=asks_name))
    return partitions


async def _wait_until_known(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Return once a broker knows these topics. The controller answers before the brokers know them."""
    while len(await count_existing_partitions(admin, names)) < len(names):  # noqa: ASYNC110  the broker sends no notification
        await asyncio.sleep(_POLL_INTERVAL_S)


async def _fetch_configurations(
    connection: Connection, admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs=dict.fromkeys(_CONFIGURATION, "")) for name in names]
    configurations: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _kind, name, entries in response.resources:
            if code == TopicAuthorizationFailedError.errno:
                raise build_refusal(connection, *build_topic_rights(["DescribeConfigs"], [name]))
            if code:
                raise TopicsMissing(f"the configuration of the topic {name} cannot be read: {message or for_code(code).__name__}")
            configurations[name] = {str(entry[0]): str(entry[1]) for entry in entries if entry[1] is not None}
    return configurations


def _build_topic_info(num_partitions: int, num_replicas: int, configuration: Mapping[str, str]) -> TopicInfo:
    is_stamped_by_broker = configuration.get("message.timestamp.type") == "LogAppendTime"
    limits_ms = [int(configuration[name]) for name in _TIMESTAMP_LIMITS if name in configuration]
    # A batch must also fit into one segment.
    sizes = [int(configuration[name]) for name in ("max.message.bytes", "segment.bytes") if name in configuration]
    return TopicInfo(
        num_partitions,
        max_message_bytes=min(sizes),
        is_compacted="compact" in configuration.get("cleanup.policy", "").split(","),
        num_replicas=num_replicas,
        min_insync_replicas=int(configuration.get("min.insync.replicas", 1)),
        max_clock_difference_ms=None if is_stamped_by_broker else min(limits_ms, default=None),
    )


def build_missing(connection: Connection, missing: Sequence[str], *, asks_name: bool) -> str:
    """Return the line about missing topics, for a worker or, with `asks_name`, for a command that needs the topics of a worker."""
    kind, them = ("is no topic", "it") if len(missing) == 1 else ("are no topics", "them")
    there = f"there {kind} {', '.join(missing)} at {connection.bootstrap_servers}"
    create = f"create {them} with `gist-stream topics --create`"
    if asks_name:
        return f"{there}: is the name in GIST_INPUT_TOPIC right? If so, {create}"
    return f"{there}: {create}, or set GIST_CREATE_TOPICS=true"

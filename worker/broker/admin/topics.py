"""The topics that the worker needs: what they are, and how they come to be."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from worker.broker.admin.permissions import Operation, Right, build_refusal, build_topic_rights, check_access
from worker.errors import BrokerUnavailable, TopicsMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka.protocol.api import Request, Response

    from worker.broker.connection.connection import Connection

# What of a topic's configuration matters to us; brokers leave out what they do not know.
_CONFIGURATION = (
    "max.message.bytes",
    "segment.bytes",
    "cleanup.policy",
    "min.insync.replicas",
    "message.timestamp.type",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
    # Before Kafka 3.6 one limit for both.
    "message.timestamp.difference.max.ms",
)
_TIMESTAMP_LIMITS = tuple(name for name in _CONFIGURATION if name.endswith(".max.ms"))
# Between two looks at whether a new topic is known, in seconds.
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """What of a topic matters to us."""

    num_partitions: int
    #: The largest batch of records that the topic takes.
    max_message_bytes: int
    #: Whether records replace those before them with the same key, so that the topic refuses a record without a key.
    is_compacted: bool = False
    #: How many replicas a partition has, of the partition that has the fewest.
    num_replicas: int = 1
    #: How many replicas must be in sync for the topic to take a record.
    min_insync_replicas: int = 1
    #: How far a record's timestamp may be from the broker's clock, in milliseconds; None where the topic sets no limit.
    max_clock_difference_ms: int | None = None


async def describe_topics(
    connection: Connection, names: Sequence[str], *, check_write: bool = False, check_read: bool = False
) -> dict[str, TopicInfo]:
    """Describe topics; raises `TopicsMissing`, naming them, where some are not there, and `BrokerUnavailable`.

    That also where we may not write to one of them, or not read it, if we must.
    """
    async with admin_client(connection) as admin:
        operations: list[Operation] = ["DescribeConfigs"]
        operations += ["Write"] * check_write
        operations += ["Read"] * check_read
        await check_access(connection, admin._client, build_topic_rights(operations, names))  # noqa: SLF001  the admin client has no such question
        partitions = await _all_partitions(connection, admin, names)
        described = {str(it["topic"]): it["partitions"] for it in await admin.describe_topics(list(names))}
        configurations = await _configurations(connection, admin, names)
    replicas = {name: min((len(it["replicas"]) for it in described.get(name, ())), default=1) for name in names}
    return {name: _shape(partitions[name], replicas[name], configurations[name]) for name in names}


async def create_missing(
    connection: Connection,
    wanted: Mapping[str, int],
    *,
    replication_factor: int = 0,
    configuration: Mapping[str, str] | None = None,
) -> list[str]:
    """Create the topics of `wanted`, each with so many partitions, that are not there, and return their names.

    A `replication_factor` of 0 means three, or as many as there are brokers; `configuration` is that of each new topic. Raises
    `TopicsMissing` where the broker refuses, and `BrokerUnavailable`.
    """
    async with admin_client(connection) as admin:
        there = await partitions_in(admin, list(wanted))
        replicas = replication_factor or min(3, len((await admin.describe_cluster())["brokers"]))
        new = [
            NewTopic(name, num_partitions, replicas, topic_configs=dict(configuration or {}))
            for name, num_partitions in wanted.items()
            if name not in there
        ]
        if not new:
            return []
        answer = await admin.create_topics(new)
        if denied := [name for name, code, *_ in answer.topic_errors if code == TopicAuthorizationFailedError.errno]:
            raise build_refusal(connection, *build_topic_rights(["Create"], denied))
        for name, code, *message in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise TopicsMissing(f"the topic {name} could not be created: {message[0] if message else for_code(code).__name__}")
        await connection.connect(_known(admin, [topic.name for topic in new]))
    return [topic.name for topic in new]


async def count_all_partitions(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of topics; raises `TopicsMissing` where some are not there, and `BrokerUnavailable`.

    It needs no right to read how they are configured.
    """
    async with admin_client(connection) as admin:
        return await _all_partitions(connection, admin, names)


async def check_rights(connection: Connection, rights: Sequence[Right]) -> None:
    """Raise `BrokerUnavailable` where no broker answers, or some of these rights are missing: one line names them all."""
    async with admin_client(connection) as admin:
        await check_access(connection, admin._client, rights)  # noqa: SLF001  the admin client has no such question


async def check_usable(connection: Connection, rights: Sequence[Right]) -> dict[str, int]:
    """Return the partitions of the topics that these rights name.

    Raises `BrokerUnavailable` where rights are missing, and `TopicsMissing` where topics are; one line names all of them.
    """
    async with admin_client(connection) as admin:
        await check_access(connection, admin._client, rights)  # noqa: SLF001  the admin client has no such question
        names = list(dict.fromkeys(right.name for right in rights if right.kind == "topic"))
        return await _all_partitions(connection, admin, names, hint="")


async def count_partitions(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of those topics that are there. Raises `BrokerUnavailable`."""
    async with admin_client(connection) as admin:
        return await partitions_in(admin, names)


class _Admin(AIOKafkaAdminClient):  # type: ignore[misc]  # the client ships no types
    """Asks one broker after the other, where the client asks one by chance: a cluster is well with one of them away."""

    async def _send_request(self, request: Request, node_id: int | None = None) -> Response:
        if node_id is not None:
            return await super()._send_request(request, node_id)
        nodes = [it.nodeId for it in self._client.cluster.brokers()]
        random.shuffle(nodes)
        failure: KafkaError = NodeNotReadyError("no broker is known")
        for it in nodes:
            try:
                return await super()._send_request(request, it)
            except (NodeNotReadyError, KafkaConnectionError) as error:
                failure = error
        raise failure


@contextlib.asynccontextmanager
async def admin_client(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    """Give a client for questions about the cluster. Raises `BrokerUnavailable`."""
    options = connection.options()
    admin = _Admin(**options)
    try:
        await connection.connect(admin.start())
        yield admin
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers} does not answer as a broker should: {error}") from error
    finally:
        await admin.close()


async def partitions_in(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    """Return the partitions of each topic that exists; asking by name would create them where brokers do that."""
    there = set(await admin.list_topics())
    wanted = [name for name in names if name in there]
    described = await admin.describe_topics(wanted) if wanted else []
    return {str(it["topic"]): len(it["partitions"]) for it in described if not it["error_code"]}


async def _all_partitions(
    connection: Connection, admin: AIOKafkaAdminClient, names: Sequence[str], *, hint: str = ", or set GIST_CREATE_TOPICS=true"
) -> dict[str, int]:
    partitions = await partitions_in(admin, names)
    if missing := [name for name in names if name not in partitions]:
        await check_access(connection, admin._client, build_topic_rights(["Describe"], missing))  # noqa: SLF001  as above
        raise TopicsMissing(
            f"{_listed(missing)} at {connection.bootstrap_servers}: create {'it' if len(missing) == 1 else 'them'} with "
            f"`gist-stream topics --create`{hint}"
        )
    return partitions


async def _known(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Return once a broker knows these topics: the controller answers before the brokers have heard of them."""
    while len(await partitions_in(admin, names)) < len(names):  # noqa: ASYNC110  the broker tells nobody when it has heard
        await asyncio.sleep(_PAUSE_S)


async def _configurations(connection: Connection, admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs=dict.fromkeys(_CONFIGURATION, "")) for name in names]
    configurations: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _kind, name, entries in answer.resources:
            if code == TopicAuthorizationFailedError.errno:
                raise build_refusal(connection, *build_topic_rights(["DescribeConfigs"], [name]))
            if code:
                raise TopicsMissing(f"the configuration of the topic {name} cannot be read: {message or for_code(code).__name__}")
            configurations[name] = {str(entry[0]): str(entry[1]) for entry in entries if entry[1] is not None}
    return configurations


def _shape(num_partitions: int, num_replicas: int, configuration: Mapping[str, str]) -> TopicInfo:
    is_stamped_by_broker = configuration.get("message.timestamp.type") == "LogAppendTime"
    limits_ms = [int(configuration[name]) for name in _TIMESTAMP_LIMITS if name in configuration]
    # A batch must fit into one segment, too.
    sizes = [int(configuration[name]) for name in ("max.message.bytes", "segment.bytes") if name in configuration]
    return TopicInfo(
        num_partitions,
        max_message_bytes=min(sizes),
        is_compacted="compact" in configuration.get("cleanup.policy", "").split(","),
        num_replicas=num_replicas,
        min_insync_replicas=int(configuration.get("min.insync.replicas", 1)),
        max_clock_difference_ms=None if is_stamped_by_broker else min(limits_ms, default=None),
    )


def _listed(missing: Sequence[str]) -> str:
    return f"there {'is no topic' if len(missing) == 1 else 'are no topics'} {', '.join(missing)}"

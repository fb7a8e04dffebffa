"""Requests that an ordinary client does not send: broken bytes, deleted records, unusual limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from worker.broker.connection.connection import Connection
    from worker.records import Headers, Partition

_HEADER_KEY = "to-be-broken"
# Where a batch has its checksum, and where what it covers begins.
_CRC_AT, _CRC_FROM = 17, 21


async def produce_poisoned(connection: Connection, partition: Partition, values: Sequence[bytes], *, poisoned: int) -> None:
    """Append a batch in which the header key of one record is not UTF-8."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=100_000
    )
    for number, value in enumerate(values):
        builder.append(number, 1_700_000_000_000, None, value, [(_HEADER_KEY, b"")] if number == poisoned else [])
    batch = bytearray(builder.build())
    at = batch.index(_HEADER_KEY.encode())
    batch[at : at + 2] = b"\xff\xfe"
    batch[_CRC_AT:_CRC_FROM] = calc_crc32c(bytes(batch[_CRC_FROM:])).to_bytes(4)
    await _append(connection, partition, bytes(batch))


async def produce_nothing(connection: Connection, partition: Partition, headers: Headers) -> None:
    """Append a record without key and value."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1_000_000
    )
    builder.append(0, 1_700_000_000_000, None, None, list(headers))
    await _append(connection, partition, bytes(builder.build()))


async def _append(connection: Connection, partition: Partition, batch: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=connection.bootstrap_servers) as producer:
        await producer.partitions_for(partition.topic)
        leader = producer.client.cluster.leader_for_partition(TopicPartition(partition.topic, partition.index))
        topics = [(partition.topic, [(partition.index, batch)])]
        answer = await producer.client.send(
            leader, ProduceRequest(required_acks=-1, timeout=10_000, topics=topics, transactional_id=None)
        )
        error_code = answer.topics[0][1][0][1]
        assert error_code == 0, error_code


async def produce_bomb(connection: Connection, partition: Partition, *, num_bytes: int) -> None:
    """Append a small compressed batch whose only record has `num_bytes` bytes."""
    async with AIOKafkaProducer(
        bootstrap_servers=connection.bootstrap_servers,
        compression_type="zstd",
        max_request_size=2 * num_bytes,
        max_batch_size=2 * num_bytes,
    ) as producer:
        await producer.send_and_wait(partition.topic, bytes(num_bytes), partition=partition.index)


def flip_last_byte(segment: Path, content: bytes) -> None:
    """Change the last of some bytes in the only file of a broker that contains the bytes; the broker may be running."""
    log = segment.read_bytes()
    assert log.count(content) == 1
    at = log.index(content) + len(content) - 1
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(bytes([log[at] ^ 0xFF]))


async def delete_before(connection: Connection, partition: Partition, offset: int) -> None:
    """Delete the records before an offset, as retention does."""
    async with _Admin(connection) as admin:
        where = TopicPartition(partition.topic, partition.index)
        await admin.delete_records({where: RecordsToDelete(before_offset=offset)})


async def configure(connection: Connection, topic: str, entries: Mapping[str, str]) -> None:
    """Set the configuration of a topic, and return once the broker has applied it."""
    async with _Admin(connection) as admin:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(entries))
        for answer in await admin.alter_configs([resource]):
            assert all(not code for code, *_ in answer.resources)
        known: dict[str, str] = {}
        while entries.items() - known.items():
            (answer,) = await admin.describe_configs([resource])
            known = {entry[0]: entry[1] for entry in answer.resources[0][4]}


async def configure_broker(connection: Connection, entries: Mapping[str, str]) -> None:
    """Set the dynamic configuration of the only broker."""
    async with _Admin(connection) as admin:
        resource = ConfigResource(ConfigResourceType.BROKER, "1", configs=dict(entries))
        for answer in await admin.alter_configs([resource]):
            assert all(not code for code, *_ in answer.resources), answer.resources


async def delete_topic(connection: Connection, topic: str) -> None:
    """Delete a topic."""
    async with _Admin(connection) as admin:
        answer = await admin.delete_topics([topic])
        assert not any(code for _, code in answer.topic_error_codes)


async def add_partitions(connection: Connection, topic: str, *, num_partitions: int) -> None:
    """Increase the number of partitions of a topic to `num_partitions`."""
    async with _Admin(connection) as admin:
        await admin.create_partitions({topic: NewPartitions(num_partitions)})


async def delete_group(connection: Connection, group_id: str) -> None:
    """Delete the committed offsets of a group without members, as the brokers do after a week."""
    async with _Admin(connection) as admin:
        answer = await admin._send_request(DeleteGroupsRequest([group_id]))
        assert [code for _, code in answer.results] == [0]


async def remove_members(connection: Connection, group_id: str) -> None:
    """Remove all members of a group at the coordinator, without a message to the members."""
    async with _Admin(connection) as admin:
        (described,) = await admin.describe_consumer_groups([group_id])
        for member_id, *_ in described.groups[0][5]:
            answer = await admin._send_request(LeaveGroupRequest(group_id, member_id), await admin.find_coordinator(group_id))
            assert not answer.error_code


class _Admin:
    def __init__(self, connection: Connection) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=connection.bootstrap_servers)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

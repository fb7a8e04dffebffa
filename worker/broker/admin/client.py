"""The admin client of this package's functions."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from worker.broker.patches.admin_failover import FailoverAdminClient
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from worker.broker.connection.connection import Connection


@contextlib.asynccontextmanager
async def admin_client(connection: Connection) -> AsyncIterator[FailoverAdminClient]:
    """Start an admin client and close it at the end of the block.

    Raises `BrokerUnavailable`, also if the block fails with a `KafkaError`.
    """
    admin = FailoverAdminClient(**connection.options())
    try:
        await connection.connect(admin.start())
        yield admin
    except KafkaError as error:
        raise BrokerUnavailable(f"{connection.bootstrap_servers}: a request to the brokers failed: {error}") from error
    finally:
        await admin.close()

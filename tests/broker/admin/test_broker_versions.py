"""Only brokers whose transactions are safe are trusted with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.broker.admin import broker_versions as versions
from worker.broker.admin.broker_versions import require_kafka_4
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def test_a_broker_of_today_is_trusted(connection: Connection) -> None:
    """Kafka 4 answers with the newer end of a transaction."""
    await require_kafka_4(connection)


async def test_an_older_broker_is_refused_by_name(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says which broker, why, and what to do."""
    monkeypatch.setattr(versions, "_SAFE_VERSION", 99)
    with pytest.raises(BrokerUnavailable, match=f"{connection.bootstrap_servers} is not.*GIST_ALLOW_OLD_BROKERS") as caught:
        await require_kafka_4(connection)
    assert "\n" not in str(caught.value)

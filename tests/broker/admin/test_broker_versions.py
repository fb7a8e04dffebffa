"""The check of the brokers' versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from worker.broker.admin import broker_versions as versions
from worker.broker.admin.broker_versions import require_kafka_4
from worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka


async def test_kafka_4_is_accepted(connection: Connection) -> None:
    await require_kafka_4(connection)


async def test_an_older_broker_is_refused_with_its_address_and_advice(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "_SAFE_VERSION", 99)
    with pytest.raises(BrokerUnavailable, match=f"{connection.bootstrap_servers} is not.*GIST_ALLOW_OLD_BROKERS") as caught:
        await require_kafka_4(connection)
    assert "\n" not in str(caught.value)

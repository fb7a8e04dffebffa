"""The session timeout of a group of the consumer protocol, which its coordinator decides, from the settings of the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.composition.broker import build_connection

if TYPE_CHECKING:
    from worker.settings import Settings


def map_group_settings(settings: Settings) -> dict[str, int]:
    """Return the settings of the group on the brokers, in milliseconds; empty with the classic protocol.

    The heartbeat interval is not among them: a worker sends heartbeats as often as its own setting says.
    """
    from worker.broker.admin.group_settings import SESSION_TIMEOUT  # noqa: PLC0415

    return {} if settings.group_protocol == "classic" else {SESSION_TIMEOUT: settings.session_timeout_ms}


async def apply_group_settings(settings: Settings) -> dict[str, str]:
    """Apply the settings of the group that differ; return the result of each, for people. Raises `BrokerUnavailable`."""
    from worker.broker.admin.group_settings import find_other_timeouts, set_group_settings  # noqa: PLC0415

    connection, wanted_ms = build_connection(settings), map_group_settings(settings)
    if wanted_ms:
        wanted_ms = await find_other_timeouts(connection, settings.group_id, wanted_ms)
    if not wanted_ms:
        return {}
    refusals = await set_group_settings(connection, settings.group_id, wanted_ms)
    return {
        name: f"is not set to {value_ms}: {refusals[name]}" if name in refusals else f"is {value_ms}"
        for name, value_ms in wanted_ms.items()
    }


async def describe_longer_waits(settings: Settings) -> list[str]:
    """Return a warning for each wait of the group that is longer than the worker's setting. Raises `BrokerUnavailable`."""
    from worker.broker.admin.group_settings import find_longer_waits  # noqa: PLC0415

    wanted_ms = map_group_settings(settings)
    if not wanted_ms:
        return []
    longer_ms = await find_longer_waits(build_connection(settings), settings.group_id, wanted_ms)
    return [
        f"{name} of the group is {value_ms}, the setting of the worker {wanted_ms[name]}: `gist-stream topics --create` sets it, "
        "with the right AlterConfigs on the group, if the limits of the brokers (group.consumer.min.*) allow it"
        for name, value_ms in longer_ms.items()
    ]

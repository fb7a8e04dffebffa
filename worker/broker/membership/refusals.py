"""The reasons why a group refuses a member of the consumer protocol, each with what to do."""

from __future__ import annotations

from aiokafka.errors import for_code

_FENCED_INSTANCE_ID = 82
_USE_CLASSIC = "set GIST_GROUP_PROTOCOL=classic"
# By error code of Kafka.
_REASONS = {
    23: f"the group has members of another kind: set GIST_GROUP_ID to a group for this worker only, or {_USE_CLASSIC}",
    24: "the name is invalid: set GIST_GROUP_ID to another one",
    29: "the worker needs the rights Read and Describe on its input topics; docs/operate/security.md lists all rights",
    30: "the worker needs the right Read on the group; docs/operate/security.md lists all rights",
    35: f"the consumer protocol is turned off or missing: enable it (Kafka 4.0 or newer, group.version 1), or {_USE_CLASSIC}",
    69: (
        "a group of another kind has this name, such as a share group: set GIST_GROUP_ID to a group for this worker only. If the "
        f"brokers' group.consumer.migration.policy forbids the move of a classic group, {_USE_CLASSIC}"
    ),
    81: "the group has the maximum number of members: run fewer workers, or raise the broker's group.consumer.max.size",
}


def explain_refusal(code: int, message: str, *, group_id: str, instance_id: str | None) -> str:
    """Return a line with the reason of an error code and what to do. `message` are the words of the broker."""
    if code == _FENCED_INSTANCE_ID:
        reason: str | None = (
            f"another process has joined with GIST_GROUP_INSTANCE_ID={instance_id}: give each worker a unique id, or stop the "
            "other process"
        )
    else:
        reason = _REASONS.get(code)
    words = " ".join(message.split())
    return f"the group {group_id} refuses this worker: {reason or str(for_code(code)())}" + f" ({words})" * bool(words)

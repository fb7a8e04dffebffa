"""What is read from a record's headers, and which headers its outputs carry. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.records import Headers


def read_headers(headers: Headers) -> dict[str, bytes]:
    """Return the value of each name, the last one as in Kafka's own clients; a null value is as good as no header."""
    return {name: value for name, value in dict(headers).items() if value is not None}

"""Texts become records that a worker with the same settings reads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.makers import PARTITION
from worker.commands.produce import build_value
from worker.composition.input import build_mapping
from worker.records import Item, Record, Task
from worker.settings.settings import read
from worker.wire.decode import Limits
from worker.wire.mapping import build_decoder


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({}, b'{"text":"Hello."}'),
        ({"text_field": r"after.a\.b"}, b'{"after":{"a.b":"Hello."}}'),
        ({"text_field": "items.0.body"}, b'{"items":{"0":{"body":"Hello."}}}'),
        ({"text_template": "{title}: {body}"}, b'{"title":"Hello."}'),
        ({"envelope": "connect", "text_field": "body"}, b'{"schema":null,"payload":{"body":"Hello."}}'),
        ({"envelope": "debezium"}, b'{"before":null,"after":{"text":"Hello."},"op":"c"}'),
    ],
)
def test_the_text_is_where_the_worker_reads_it(settings: dict[str, Any], value: bytes) -> None:
    """Path, template and envelope are those of the settings."""
    mapping = build_mapping(read(settings))
    assert build_value("Hello.", mapping) == value
    decoded = build_decoder(mapping, limits=Limits(), tasks=frozenset(Task))(Record(PARTITION, 0, None, value))
    assert isinstance(decoded, Item)
    assert decoded.text.startswith("Hello.")

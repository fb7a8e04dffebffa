"""Error codes that Kafka's client does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiokafka.errors
import pytest
from aiokafka.errors import KafkaError, UnknownError, for_code
from hypothesis import given
from hypothesis import strategies as st

from worker.broker.delivery.batch_producer import REFUSALS
from worker.broker.patches.error_codes import FencedInstanceId, GroupMaxSizeReached, InvalidRecord, patch_error_codes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _named() -> Iterator[None]:
    """Name the codes, and leave the client's table as it was."""
    before = aiokafka.errors.kafka_errors
    patch_error_codes()
    yield
    aiokafka.errors.kafka_errors = before


@given(st.integers(-1, 32_767))
def test_every_code_keeps_its_number(code: int) -> None:
    """What is raised for a code, known or not, shows the number; the same code has the same class."""
    kind = for_code(code)
    assert issubclass(kind, KafkaError)
    assert for_code(code) is kind
    assert str(kind()).startswith(f"[Error {code}] ")


def test_the_codes_that_we_act_upon_have_their_names() -> None:
    """The client itself calls all of these unknown."""
    assert [for_code(code) for code in (81, 82, 87)] == [GroupMaxSizeReached, FencedInstanceId, InvalidRecord]
    assert for_code(-1) is UnknownError
    assert for_code(88).retriable


def test_a_record_is_given_up_for_what_no_repetition_mends() -> None:
    """Refused for good are an invalid record and codes that nobody knows; a fault of the broker is no refusal."""
    assert issubclass(for_code(87), REFUSALS)
    assert issubclass(for_code(9_999), REFUSALS)
    for code in (-1, 19, 20, 45, 47, 56, 88, 90, 120):
        assert not issubclass(for_code(code), REFUSALS)


def test_naming_twice_changes_nothing() -> None:
    """Every client of the process asks for it."""
    before = aiokafka.errors.kafka_errors
    patch_error_codes()
    assert aiokafka.errors.kafka_errors is before

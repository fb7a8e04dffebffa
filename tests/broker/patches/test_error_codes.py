"""The patch of the error codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiokafka.errors
import pytest
from aiokafka.errors import BrokerResponseError, KafkaError, UnknownError, for_code
from hypothesis import given
from hypothesis import strategies as st

from worker.broker.delivery.batch_producer import REFUSALS
from worker.broker.patches.error_codes import FencedInstanceId, GroupMaxSizeReached, InvalidRecordError, patch_error_codes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="module")
def _patched() -> Iterator[None]:
    """Patch the error codes, and restore aiokafka's table at the end."""
    before = aiokafka.errors.kafka_errors
    patch_error_codes()
    yield
    aiokafka.errors.kafka_errors = before


def test_aiokafka_does_not_know_the_codes_that_the_worker_acts_on() -> None:
    known = {kind.errno for kind in BrokerResponseError.__subclasses__() if kind.__module__ == "aiokafka.errors"}
    assert known.isdisjoint({81, 82, 87})


@given(st.integers(-1, 32_767))
def test_every_code_keeps_its_number_and_its_class(code: int) -> None:
    kind = for_code(code)
    assert issubclass(kind, KafkaError)
    assert for_code(code) is kind
    assert str(kind()).startswith(f"[Error {code}] ")


def test_the_codes_that_the_worker_acts_on_have_a_class() -> None:
    assert [for_code(code) for code in (81, 82, 87)] == [GroupMaxSizeReached, FencedInstanceId, InvalidRecordError]
    assert for_code(-1) is UnknownError
    assert for_code(88).retriable


def test_only_an_invalid_record_and_unknown_codes_are_refusals_of_a_record() -> None:
    """A refusal becomes a dead letter; a fault of the broker must not."""
    assert issubclass(for_code(87), REFUSALS)
    assert issubclass(for_code(9_999), REFUSALS)
    for code in (-1, 19, 20, 45, 47, 56, 88, 90, 120):
        assert not issubclass(for_code(code), REFUSALS)


def test_a_second_patch_has_no_effect() -> None:
    before = aiokafka.errors.kafka_errors
    patch_error_codes()
    assert aiokafka.errors.kafka_errors is before

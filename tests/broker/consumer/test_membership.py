"""The refusals of a group."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiokafka.errors
import pytest
from aiokafka.errors import for_code
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest, SyncGroupRequest
from hypothesis import given
from hypothesis import strategies as st

from worker.broker.consumer.membership import Membership, RefusalDetector
from worker.broker.patches.error_codes import patch_error_codes
from worker.errors import BrokerUnavailable, ConsumerBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMBER = Membership(topics=["texts"], group_id="readers")
STATIC = Membership(topics=["texts"], group_id="readers", group_instance_id="pod-0")
HEARTBEAT = HeartbeatRequest("readers", 1, "member")


@pytest.fixture(autouse=True, scope="module")
def _patched() -> Iterator[None]:
    """Patch the error codes, and restore aiokafka's table at the end."""
    before = aiokafka.errors.kafka_errors
    patch_error_codes()
    yield
    aiokafka.errors.kafka_errors = before


@given(st.integers(-1, 32_767))
def test_each_code_is_either_a_refusal_in_one_line_or_expected(code: int) -> None:
    """A retriable error is no refusal. Every refusal names the group."""
    refusal = MEMBER.explain_refusal(code)
    if for_code(code).retriable or code in {-1, 0, 22, 25, 27, 79}:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.startswith("the group readers refuses this worker: ")
        assert "\n" not in refusal


def test_a_refusal_without_advice_names_its_code() -> None:
    assert "[Error 35] UnsupportedVersionError" in (MEMBER.explain_refusal(35) or "")
    assert "[Error 999] UnknownCode" in (MEMBER.explain_refusal(999) or "")


def test_a_static_member_that_becomes_unknown_after_a_heartbeat_was_fenced() -> None:
    """A dynamic member, or a member without a recent heartbeat, has only been removed."""
    for membership, answers, is_refused in (
        (STATIC, [0, 25], True),
        (STATIC, [25], False),
        (MEMBER, [0, 25], False),
    ):
        admission = RefusalDetector(membership)
        for code in answers:
            admission.observe(HEARTBEAT, SimpleNamespace(error_code=code))
        assert (admission.refusal is not None) == is_refused
        assert not is_refused or "GIST_GROUP_INSTANCE_ID=pod-0" in (admission.refusal or "")


def test_responses_to_other_requests_are_ignored() -> None:
    admission = RefusalDetector(MEMBER)
    admission.observe(object(), object())
    admission.check()
    assert isinstance(MEMBER.build_join_request(), JoinGroupRequest)
    admission.observe(MEMBER.build_join_request(), SimpleNamespace(error_code=23))
    with pytest.raises(BrokerUnavailable):
        admission.check()


def test_only_a_refusal_before_the_first_membership_ends_the_worker() -> None:
    """After a later refusal the consumer is replaced, because the group may accept the worker again."""
    admission = RefusalDetector(MEMBER)
    admission.check()
    admission.observe(MEMBER.build_join_request(), SimpleNamespace(error_code=23))
    with pytest.raises(BrokerUnavailable, match="GIST_GROUP_ID"):
        admission.check()
    admission.observe(SyncGroupRequest("readers", 1, "member", None, []), SimpleNamespace(error_code=0))
    with pytest.raises(ConsumerBroken, match="GIST_GROUP_ID"):
        admission.check()

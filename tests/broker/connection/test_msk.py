"""The login at Amazon MSK with IAM: the region, the renewal of tokens, and failures without a secret."""

from __future__ import annotations

import base64

import pytest

from worker.broker.connection.msk import MskIamToken, build_msk_provider, find_region
from worker.broker.connection.oauth import NoToken
from worker.errors import BadSettings


@pytest.mark.parametrize(
    ("servers", "region"),
    [
        (
            "b-1.name.abc.c2.kafka.eu-central-1.amazonaws.com:9098,b-2.name.abc.c2.kafka.eu-central-1.amazonaws.com:9098",
            "eu-central-1",
        ),
        ("boot-abc.c1.kafka-serverless.us-gov-west-1.amazonaws.com:9098", "us-gov-west-1"),
        ("kafka.internal:9098", "us-east-1"),
    ],
)
def test_the_region_is_that_of_the_brokers(servers: str, region: str) -> None:
    """An address of another form takes the region of the environment."""
    assert find_region(servers, "us-east-1") == region


def test_without_a_region_the_start_stops() -> None:
    """The line names the variable to set."""
    with pytest.raises(BadSettings, match="set AWS_REGION"):
        find_region("kafka.internal:9098", "")


async def test_a_token_is_signed_again_before_it_expires() -> None:
    """The token is used for four fifths of its lifetime."""
    now_s, signed = 1_000.0, iter(["first", "second"])
    provider = MskIamToken(lambda: (next(signed), (now_s + 900) * 1000), now_s=lambda: now_s)
    assert await provider.token() == "first"
    now_s += 719
    assert await provider.token() == "first"
    now_s += 2
    assert await provider.token() == "second"


async def test_a_token_stays_in_use_until_it_expires() -> None:
    """Credentials may be missing for a moment, as during their rotation."""
    now_s, signed = 1_000.0, [("first", 1_900_000.0)]
    provider = MskIamToken(signed.pop, now_s=lambda: now_s)
    assert await provider.token() == "first"
    now_s = 1_899.0
    assert await provider.token() == "first"
    now_s = 1_900.0
    with pytest.raises(NoToken):
        await provider.token()


async def test_missing_credentials_are_one_line() -> None:
    """The error is retried like an unavailable broker."""

    def sign() -> tuple[str, float]:
        raise ValueError("Credentials cannot be empty")

    with pytest.raises(NoToken, match="AWS gives no credentials to sign a token of MSK: Credentials cannot be empty"):
        await MskIamToken(sign).token()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_the_signer_of_aws_signs_a_request_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is a signed URL of the region; the secret is not part of the token."""
    pytest.importorskip("aws_msk_iam_sasl_signer", reason="the extra msk is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-in-the-token")
    token = await build_msk_provider("b-1.name.abc.c2.kafka.eu-central-1.amazonaws.com:9098").token()
    url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    assert url.startswith("https://kafka.eu-central-1.amazonaws.com/?Action=kafka-cluster%3AConnect")
    assert "AKIDEXAMPLE" in url
    assert "not-in-the-token" not in url

"""The settings: bounded, agreeing with each other, and silent about secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from worker.connection_settings import PREFIX
from worker.errors import BadSettings
from worker.settings import Settings, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the environment and any `.env` of the folder that the tests run in."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_the_defaults_agree() -> None:
    """A worker starts without any setting; its topics follow from the input's name."""
    settings = read()
    assert settings.output_topics == ("texts.embeddings", "texts.labels", "texts.entities", "texts.dlq")
    assert settings.http_host == "127.0.0.1"


def test_flags_beat_the_environment_and_the_environment_beats_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each is read, in this order."""
    (tmp_path / ".env").write_text("GIST_GROUP_ID=file\nGIST_INPUT_TOPIC=file\nGIST_CLIENT_ID=file\nOTHER=1\n")
    monkeypatch.setenv("GIST_GROUP_ID", "environment")
    monkeypatch.setenv("GIST_INPUT_TOPIC", "environment")
    settings = read({"group_id": "flag"})
    assert (settings.group_id, settings.input_topic, settings.client_id) == ("flag", "environment", "file")


def test_tasks_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset and empty mean all."""
    assert read({"tasks": "embed, ner"}).tasks == {"embed", "ner"}
    monkeypatch.setenv("GIST_TASKS", "")
    assert read().tasks == frozenset()


SASL = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": "hush"}

OAUTH = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
URL = "sasl_oauthbearer_token_endpoint_url"
CREDENTIALS = OAUTH | {"sasl_oauthbearer_client_id": "c", "sasl_oauthbearer_client_secret": "hush"}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"batch_tokens": "many"}, "GIST_BATCH_TOKENS: Input should be a valid integer"),
        ({"batch_tokens": "1"}, "GIST_BATCH_TOKENS"),
        ({"delivery": "twice"}, "GIST_DELIVERY"),
        ({"tasks": "embed,translate"}, "GIST_TASKS"),
        ({"input_topic": ""}, "GIST_INPUT_TOPIC"),
        ({"tokens_in_flight_low": "70000"}, "GIST_TOKENS_IN_FLIGHT_LOW is above"),
        ({"tokens_in_flight_high": "100", "tokens_in_flight_low": "50"}, "GIST_TOKENS_IN_FLIGHT_HIGH is below"),
        ({"batch_tokens": "256", "max_text_tokens": "512"}, "GIST_BATCH_TOKENS is below GIST_MAX_TEXT_TOKENS"),
        ({"long_text": "forget"}, "GIST_LONG_TEXT"),
        ({"max_windows": "1"}, "GIST_MAX_WINDOWS"),
        (
            {"long_text": "window", "max_text_tokens": "128", "window_overlap_tokens": "64"},
            "GIST_WINDOW_OVERLAP_TOKENS is over half of what a window of GIST_MAX_TEXT_TOKENS holds",
        ),
        ({"drain_timeout_ms": "60000"}, "GIST_DRAIN_TIMEOUT_MS is not below"),
        ({"rebalance_timeout_ms": "90000"}, "GIST_REBALANCE_TIMEOUT_MS is not below"),
        ({"heartbeat_interval_ms": "20000"}, "GIST_HEARTBEAT_INTERVAL_MS is over a third"),
        ({"security_protocol": "SASL_SSL"}, "GIST_SASL_USERNAME and GIST_SASL_PASSWORD are both needed"),
        (SASL | {"security_protocol": "SASL_PLAINTEXT"}, "use SASL_SSL or set GIST_ALLOW_PLAINTEXT_PASSWORD"),
        (SASL | {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}, "sends the password readably"),
        (OAUTH, "GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is needed with OAUTHBEARER"),
        (OAUTH | {URL: "ftp://x"}, "GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL must begin with https:// or file:///"),
        (OAUTH | {URL: "https://x"}, "GIST_SASL_OAUTHBEARER_CLIENT_ID and GIST_SASL_OAUTHBEARER_CLIENT_SECRET are both needed"),
        (CREDENTIALS | {URL: "http://x"}, "sends the secret readably: use https:// or set GIST_ALLOW_PLAINTEXT_PASSWORD"),
        (OAUTH | {URL: "file:///x", "security_protocol": "SASL_PLAINTEXT"}, "sends the token readably"),
        ({"sasl_oauthbearer_extensions": "a=b,c"}, "GIST_SASL_OAUTHBEARER_EXTENSIONS must be name=value"),
        ({"ssl_cert_file": "/x"}, "GIST_SSL_CERT_FILE and GIST_SSL_KEY_FILE need each other"),
        ({"labels_topic": "texts"}, "must all differ"),
        ({"labels_topic": "same", "entities_topic": "same"}, "must all differ"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(flags: dict[str, Any], complaint: str) -> None:
    """It names the settings as one would set them."""
    with pytest.raises(BadSettings) as caught:
        read(flags)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_overlap_matters_only_where_there_are_windows() -> None:
    """And half of a window is not too much."""
    flags = {"max_text_tokens": "128", "window_overlap_tokens": "63"}
    assert read(flags | {"long_text": "window"}).window_overlap_tokens == 63
    assert read(flags | {"window_overlap_tokens": "500"}).long_text == "truncate"


def test_a_plaintext_password_may_be_forced() -> None:
    """By whoever knows the network."""
    flags = SASL | {"security_protocol": "SASL_PLAINTEXT", "allow_plaintext_password": "true"}
    assert read(flags).security_protocol == "SASL_PLAINTEXT"


def test_a_password_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a representation nor in a complaint, whatever else is wrong."""
    assert "hush" not in repr(read(SASL))
    assert "hush" not in repr(read(CREDENTIALS | {URL: "https://x", "ssl_key_password": "hush"}))
    monkeypatch.setenv("GIST_SASL_PASSWORD", "hush")
    with pytest.raises(BadSettings) as caught:
        read({"security_protocol": "SASL_SSL", "batch_tokens": "hush"})
    assert "hush" not in str(caught.value)


def test_every_setting_says_how_to_choose_it() -> None:
    """A sentence each, with its unit in its name where it has one."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_settings_do_not_change() -> None:
    """They are read once."""
    with pytest.raises(ValueError, match="frozen"):
        read().group_id = "other"

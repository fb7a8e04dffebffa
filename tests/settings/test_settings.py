"""The settings have limits, do not contradict each other, and never show secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from worker.errors import BadSettings
from worker.settings import Settings, read
from worker.settings.connection import PREFIX

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all variables of settings, and run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def test_the_defaults_are_valid() -> None:
    """Settings without any value are valid, and the output topics have the name of the input topic with suffixes."""
    settings = read()
    assert settings.output_topics == {name: f"texts.{name}" for name in ("embeddings", "labels", "entities", "dlq")}
    assert settings.http_host == "127.0.0.1"


def test_a_layout_has_one_topic_for_all_results() -> None:
    """The suffix of the default topic is the layout, and `GIST_RESULTS_TOPIC` names another topic."""
    assert read({"output_layout": "enriched"}).output_topics == {"enriched": "texts.enriched", "dlq": "texts.dlq"}
    assert read({"output_layout": "flat", "results_topic": "rows"}).output_topics == {"flat": "rows", "dlq": "texts.dlq"}


@pytest.mark.parametrize("flags", [{"embedding_encoding": "int8"}, {"tasks": "ner"}])
def test_points_of_qdrant_need_vectors_of_numbers(flags: dict[str, str]) -> None:
    """The layout `qdrant` with another encoding, or without the task embed, stops the start."""
    with pytest.raises(BadSettings, match="GIST_OUTPUT_LAYOUT=qdrant needs GIST_EMBEDDING_ENCODING=float"):
        read({"output_layout": "qdrant", **flags})


def test_each_of_several_topics_has_outputs_of_its_own() -> None:
    """`{topic}` stands for the input topic; a name without it is shared. A backfill has the outputs of the input topic."""
    settings = read({"input_topic": "a, b", "labels_topic": "all.labels", "dead_letter_topic": "dead.{topic}"})
    assert settings.input_topics == ("a", "b")
    assert settings.name_output_topics("b") == {
        "embeddings": "b.embeddings",
        "labels": "all.labels",
        "entities": "b.entities",
        "dlq": "dead.b",
    }
    settings = read({"input_topic": "a", "backfill_topic": "old", "labels_topic": "labels.{topic}"})
    assert settings.name_output_topics("old") == settings.name_output_topics("a") == settings.output_topics
    assert settings.output_topics["labels"] == "labels.a"


def test_the_iam_login_of_msk_needs_encryption_and_no_endpoint() -> None:
    """The method replaces the token endpoint, and a contradiction stops the start."""
    msk = {"sasl_oauthbearer_method": "aws_msk_iam", "sasl_mechanism": "OAUTHBEARER", "security_protocol": "SASL_SSL"}
    assert read(msk).sasl_oauthbearer_method == "aws_msk_iam"
    for wrong in ({"security_protocol": "SSL"}, {"sasl_mechanism": "PLAIN"}, {"sasl_oauthbearer_token_endpoint_url": "file:///t"}):
        with pytest.raises(BadSettings):
            read(msk | wrong)


def test_flags_precede_the_environment_and_the_environment_precedes_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A value comes from a flag, else from a variable, else from `.env`."""
    (tmp_path / ".env").write_text("GIST_GROUP_ID=file\nGIST_INPUT_TOPIC=file\nGIST_CLIENT_ID=file\nOTHER=1\n")
    monkeypatch.setenv("GIST_GROUP_ID", "environment")
    monkeypatch.setenv("GIST_INPUT_TOPIC", "environment")
    settings = read({"group_id": "flag"})
    assert (settings.group_id, settings.input_topic, settings.client_id) == ("flag", "environment", "file")


def test_tasks_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty value selects all tasks, as an unset one does."""
    assert read({"tasks": "embed, ner"}).tasks == {"embed", "ner"}
    monkeypatch.setenv("GIST_TASKS", "")
    assert read().tasks == frozenset()


SASL = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": "hush"}

REGISTRY = {"schema_registry_url": "https://a:8081"}
OAUTH = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
URL = "sasl_oauthbearer_token_endpoint_url"
CREDENTIALS = OAUTH | {"sasl_oauthbearer_client_id": "c", "sasl_oauthbearer_client_secret": "hush"}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"input_topic_pattern": "a["}, "GIST_INPUT_TOPIC_PATTERN: the pattern is not a regular expression"),
        (
            {"input_topic_pattern": "a.*", "input_topic": "a"},
            "GIST_INPUT_TOPIC and GIST_INPUT_TOPIC_PATTERN both name the input topics: set only one of them",
        ),
        ({"input_topic_pattern": "a.*", "backfill_topic": "old"}, "GIST_BACKFILL_TOPIC needs one input topic"),
        ({"input_topic": "a,,b"}, "GIST_INPUT_TOPIC: a name of a topic is empty"),
        ({"input_topic": "a,a"}, "must have different names"),
        ({"input_topic": "a,b", "labels_topic": "b"}, "must have different names"),
        ({"labels_topic": "{name}.x"}, "GIST_LABELS_TOPIC: a brace is no part of the name of a topic"),
        ({"input_topic": "a,b", "backfill_topic": "old"}, "GIST_BACKFILL_TOPIC needs one input topic"),
        ({"input_topic": "a,b", "output_layout": "qdrant"}, "GIST_QDRANT_COLLECTION is unset"),
        ({"output_format": "avro"}, "GIST_OUTPUT_FORMAT=avro needs GIST_SCHEMA_REGISTRY_URL"),
        ({"output_format": "connect_json", "output_layout": "enriched"}, "a schema needs known fields"),
        ({"schema_registry_url": "registry:8081"}, "an address begins with http:// or https://"),
        ({"schema_registry_url": "https://user:hush@a"}, "set GIST_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO"),
        (REGISTRY | {"schema_registry_basic_auth_user_info": "hush"}, "a user and a password with a colon between them"),
        (REGISTRY | {"schema_registry_basic_auth_user_info": "a:hush", "schema_registry_bearer_auth_token": "hush"}, "both set"),
        ({"schema_registry_url": "http://a", "schema_registry_bearer_auth_token": "hush"}, "sends the credentials unencrypted"),
        (REGISTRY | {"schema_registry_ssl_cert_file": "a"}, "must be set together"),
        ({"text_field": "a..b"}, "GIST_TEXT_FIELD: a name is empty"),
        ({"id_field": "a\\b"}, "GIST_ID_FIELD: a backslash precedes a dot or a backslash, not 'b'"),
        ({"text_template": "no field"}, "GIST_TEXT_TEMPLATE: no field is named"),
        ({"text_template": "{a"}, "GIST_TEXT_TEMPLATE: a brace is not closed"),
        (
            {"text_template": "{a}", "text_field": "b"},
            "GIST_TEXT_TEMPLATE and GIST_TEXT_FIELD both name the text: set only one of them",
        ),
        ({"id_from": "key", "id_field": "a"}, "GIST_ID_FIELD has no effect with GIST_ID_FROM=key"),
        ({"unchanged_text": "skip", "envelope": "connect"}, "GIST_UNCHANGED_TEXT=skip compares the rows of Debezium"),
        ({"unchanged_text": "skip", "output_layout": "enriched"}, "GIST_UNCHANGED_TEXT=skip keeps other changed fields out"),
        ({"long_text": "chunks", "output_layout": "enriched"}, "GIST_LONG_TEXT=chunks needs GIST_OUTPUT_LAYOUT split, flat"),
        ({"max_batch_tokens": "many"}, "GIST_MAX_BATCH_TOKENS: 'many' is not allowed: set a whole number, 0 to 1,048,576"),
        ({"max_batch_tokens": "-1"}, "GIST_MAX_BATCH_TOKENS: '-1' is not allowed: set a whole number, 0 to 1,048,576"),
        ({"max_headers": "1e3"}, "GIST_MAX_HEADERS: '1e3' is not allowed: set a whole number, 0 or more"),
        ({"max_batch_ms": "0"}, "GIST_MAX_BATCH_MS: '0' is not allowed: set a number, 1 to 10,000"),
        ({"max_batch_ms": "nan"}, "GIST_MAX_BATCH_MS: 'nan' is not allowed: set a number"),
        ({"max_windows": "9" * 5_000}, f"GIST_MAX_WINDOWS: '{'9' * 40}…' is not allowed"),
        ({"delivery": "twice"}, "GIST_DELIVERY: 'twice' is not allowed: set 'at_least_once' or 'exactly_once'"),
        ({"tasks": "embed,translate"}, "GIST_TASKS: 'translate' is not allowed: set 'embed', 'classify' or 'ner'"),
        ({"tasks": "embed,\udcff"}, "GIST_TASKS: the value has bytes that are not text in the encoding of this locale: use UTF-8"),
        ({"create_topics": "may\nbe"}, "GIST_CREATE_TOPICS: 'may\\nbe' is not allowed: set 'true' or 'false'"),
        ({"sasl_mechanism": "hush"}, "GIST_SASL_MECHANISM: the value is not allowed: set 'PLAIN', 'SCRAM-SHA-256', "),
        ({"allow_plaintext_password": "hush"}, "GIST_ALLOW_PLAINTEXT_PASSWORD: the value is not allowed: set 'true' or 'false'"),
        ({"input_topic": ""}, "GIST_INPUT_TOPIC: the value is empty"),
        ({"prompt": "x" * 5_000}, "GIST_PROMPT: the value has more than 4,096 characters"),
        ({"resume_in_flight_tokens": "70000"}, "GIST_RESUME_IN_FLIGHT_TOKENS is above"),
        (
            {"max_in_flight_tokens": "100", "resume_in_flight_tokens": "50", "max_batch_tokens": "200"},
            "GIST_MAX_IN_FLIGHT_TOKENS is below",
        ),
        ({"max_batch_tokens": "256", "max_seq_length": "512"}, "GIST_MAX_BATCH_TOKENS is below GIST_MAX_SEQ_LENGTH"),
        ({"long_text": "forget"}, "GIST_LONG_TEXT"),
        ({"max_windows": "1"}, "GIST_MAX_WINDOWS"),
        (
            {"long_text": "window", "max_seq_length": "128", "window_overlap_tokens": "64"},
            "GIST_WINDOW_OVERLAP_TOKENS is over half of a window of GIST_MAX_SEQ_LENGTH",
        ),
        ({"drain_timeout_ms": "60000"}, "GIST_DRAIN_TIMEOUT_MS is not below"),
        ({"rebalance_timeout_ms": "90000"}, "GIST_REBALANCE_TIMEOUT_MS is not below"),
        ({"heartbeat_interval_ms": "20000"}, "GIST_HEARTBEAT_INTERVAL_MS is over a third"),
        ({"security_protocol": "SASL_SSL"}, "GIST_SASL_USERNAME and GIST_SASL_PASSWORD are both needed"),
        (SASL | {"security_protocol": "SASL_PLAINTEXT"}, "use SASL_SSL or set GIST_ALLOW_PLAINTEXT_PASSWORD"),
        (SASL | {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}, "sends the password unencrypted"),
        (OAUTH, "GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL is needed with OAUTHBEARER"),
        (OAUTH | {URL: "ftp://x"}, "GIST_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL must begin with https:// or file:///"),
        (OAUTH | {URL: "https://x"}, "GIST_SASL_OAUTHBEARER_CLIENT_ID and GIST_SASL_OAUTHBEARER_CLIENT_SECRET are both needed"),
        (CREDENTIALS | {URL: "http://x"}, "sends the secret unencrypted: use https or set GIST_ALLOW_PLAINTEXT_PASSWORD"),
        (OAUTH | {URL: "file:///x", "security_protocol": "SASL_PLAINTEXT"}, "sends the token unencrypted"),
        ({"sasl_oauthbearer_extensions": "a=b,c"}, "GIST_SASL_OAUTHBEARER_EXTENSIONS must be name=value"),
        ({"ssl_cert_file": "/x"}, "GIST_SSL_CERT_FILE and GIST_SSL_KEY_FILE must be set together"),
        ({"labels_topic": "texts"}, "must have different names"),
        ({"labels_topic": "same", "entities_topic": "same"}, "must have different names"),
    ],
)
def test_a_contradiction_is_refused_in_one_line(flags: dict[str, Any], complaint: str) -> None:
    """The line names the variables of the settings."""
    with pytest.raises(BadSettings) as caught:
        read(flags)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_overlap_is_limited_only_with_windows() -> None:
    """An overlap of half a window is valid, and without windows any overlap is."""
    flags = {"max_seq_length": "128", "window_overlap_tokens": "63"}
    assert read(flags | {"long_text": "window"}).window_overlap_tokens == 63
    assert read(flags | {"window_overlap_tokens": "500"}).long_text == "truncate"


def test_an_unencrypted_password_is_permitted_by_a_setting() -> None:
    """`GIST_ALLOW_PLAINTEXT_PASSWORD=true` permits SASL without encryption."""
    flags = SASL | {"security_protocol": "SASL_PLAINTEXT", "allow_plaintext_password": "true"}
    assert read(flags).security_protocol == "SASL_PLAINTEXT"


def test_a_password_never_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is in the representation of settings or in an error."""
    assert "hush" not in repr(read(SASL))
    assert "hush" not in repr(read(CREDENTIALS | {URL: "https://x", "ssl_key_password": "hush"}))
    monkeypatch.setenv("GIST_SASL_PASSWORD", "hush")
    with pytest.raises(BadSettings) as caught:
        read({"security_protocol": "SASL_SSL", "sasl_mechanism": "hush", "max_batch_tokens": "many"})
    assert "hush" not in str(caught.value)


def test_every_setting_has_a_description() -> None:
    """Each description is one or more full sentences."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_settings_are_frozen() -> None:
    """An assignment to a setting raises an error."""
    with pytest.raises(ValueError, match="frozen"):
        read().group_id = "other"


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("HTTP_PORT", '"8080"', "GIST_HTTP_PORT: the value begins and ends with a quotation mark"),
        ("GROUP_ID", "'mine'", "GIST_GROUP_ID: the value begins and ends with a quotation mark"),
        ("BOOTSTRAP_SERVERS", '"broker:9092"', "GIST_BOOTSTRAP_SERVERS: the value begins and ends with a quotation mark"),
        ("SSL_CA_FILE", '"/ca.pem"', "GIST_SSL_CA_FILE: the value begins and ends with a quotation mark"),
        ("GROUP_ID", "  ", "GIST_GROUP_ID: the value is blank"),
        ("GROUP_ID", "\u200b\u00a0", "GIST_GROUP_ID: the value is blank"),
        ("GROUP_INSTANCE_ID", " ", "GIST_GROUP_INSTANCE_ID: the value is blank"),
        ("LABELS_TOPIC", "\t", "GIST_LABELS_TOPIC: the value is blank"),
        ("BOOTSTRAP_SERVERS", "broker:", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("BOOTSTRAP_SERVERS", "broker:kafka", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("BOOTSTRAP_SERVERS", "broker:70000", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("BOOTSTRAP_SERVERS", "broker:9092,other:'9092'", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("BOOTSTRAP_SERVERS", "PLAINTEXT://broker:9092", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("BOOTSTRAP_SERVERS", "[broker]:9092", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("BOOTSTRAP_SERVERS", ",", "GIST_BOOTSTRAP_SERVERS: an address is host:port"),
        ("GROUP_ID", "caf\udce9", "GIST_GROUP_ID: the value has bytes that are not text"),
    ],
)
def test_a_malformed_value_is_refused_with_the_name_of_its_setting(
    name: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A malformed value in the environment or in a flag is one line with the name of the setting."""
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(BadSettings) as caught:
        read()
    assert complaint in str(caught.value)
    monkeypatch.delenv(PREFIX + name)
    with pytest.raises(BadSettings) as caught:
        read({name.lower(): value})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["broker", "broker:1", "10.0.0.1:65535", "::1", "[::1]", "[::1]:9092", "a.b-c.example:9092"])
def test_addresses_have_the_forms_of_kafka_clients(address: str) -> None:
    """Spaces and empty entries between commas are removed."""
    assert read({"bootstrap_servers": f" {address} ,, other:9092,"}).bootstrap_servers == f"{address},other:9092"


def test_a_secret_may_have_any_characters() -> None:
    """A secret may begin with a quotation mark or consist of spaces."""
    settings = read(SASL | {"sasl_password": '"hush"', "ssl_key_password": "   "})
    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == '"hush"'


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"GIST_INPUT_TOPIC=a\nGIST_CLIENT_ID=caf\xe9\n", "GIST_CLIENT_ID: .env, line 2: the value is not UTF-8"),
        (b"export GIST_CLIENT_ID = caf\xe9", "GIST_CLIENT_ID: .env, line 1: the value is not UTF-8"),
        (b"# caf\xe9\n", "a setting: .env, line 1: the value is not UTF-8"),
        ("GIST_CLIENT_ID=a\n".encode("utf-16"), "a setting: .env, line 1: the value is not UTF-8"),
        (b"GIST_CLIENT_ID=a\0b\n", "GIST_CLIENT_ID: the value contains a NUL byte"),
        (b"GIST_SASL_PASSWORD=a\0b\n", "GIST_SASL_PASSWORD: the value contains a NUL byte"),
        (b"GIST_SSL_CA_FILE=a\0b\n", "GIST_SSL_CA_FILE: the value contains a NUL byte"),
    ],
)
def test_a_malformed_file_is_one_line(content: bytes, complaint: str, tmp_path: Path) -> None:
    """The line names the setting and its place, and has no value."""
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(BadSettings) as caught:
        read()
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_does_not_hide_the_first_setting(tmp_path: Path) -> None:
    """A byte order mark, as editors on Windows write it, is not part of the first name."""
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfGIST_CLIENT_ID=first\r\nGIST_GROUP_ID=second\r\n")
    assert (read().client_id, read().group_id) == ("first", "second")


def test_an_unreadable_file_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error of the operating system is in the line; it is simulated, because the superuser can read every file."""
    (tmp_path / ".env").write_text("GIST_CLIENT_ID=a\n")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dotenv.main.open", refuse, raising=False)
    with pytest.raises(BadSettings, match=r"^\.env cannot be read: Permission denied$"):
        read()

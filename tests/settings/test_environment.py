"""Variables with the prefix of the settings: each has an effect, or is reported with the closest setting."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from worker.cli import app
from worker.commands.variables import find_warnings
from worker.errors import BadSettings
from worker.settings import Settings, read
from worker.settings.connection import PREFIX
from worker.settings.environment import find_unknown, is_address

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}
KUBERNETES = {
    "GIST_STREAM_SERVICE_HOST": "10.0.0.1",
    "GIST_STREAM_SERVICE_PORT": "8080",
    "GIST_STREAM_SERVICE_PORT_HTTP": "8080",
    "GIST_STREAM_PORT": "tcp://10.0.0.1:8080",
    "GIST_STREAM_PORT_8080_TCP": "tcp://10.0.0.1:8080",
    "GIST_STREAM_PORT_8080_TCP_PROTO": "tcp",
    "GIST_STREAM_PORT_8080_TCP_PORT": "8080",
    "GIST_STREAM_PORT_8080_TCP_ADDR": "10.0.0.1",
}


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all variables with the prefix, and run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("GIST_BOOTSTRAP_SERVER", "GIST_BOOTSTRAP_SERVER is not a setting: did you mean GIST_BOOTSTRAP_SERVERS?"),
        ("GIST_INPUT_TOPC", "GIST_INPUT_TOPC is not a setting: did you mean GIST_INPUT_TOPIC?"),
        ("gist_http_prt", "GIST_HTTP_PRT is not a setting: did you mean GIST_HTTP_PORT?"),
        ("GIST_XYZZY", "GIST_XYZZY is not a setting and has no effect"),
        ("GITS_INPUT_TOPIC", "GITS_INPUT_TOPIC is not a setting: did you mean GIST_INPUT_TOPIC?"),
        ("GISTSTREAM_GROUP_ID", "GISTSTREAM_GROUP_ID is not a setting: did you mean GIST_GROUP_ID?"),
        ("GIST-HTTP-PORT", "GIST-HTTP-PORT is not a setting: did you mean GIST_HTTP_PORT?"),
        ("GIST_HTTP-PORT", "GIST_HTTP-PORT is not a setting: did you mean GIST_HTTP_PORT?"),
        ("GIST_HTTP.PORT", "GIST_HTTP.PORT is not a setting: did you mean GIST_HTTP_PORT?"),
    ],
)
def test_a_typo_is_named_with_the_nearest_setting(name: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A typo in the environment or in `.env` is reported; its value, which may be a secret, is never shown."""
    monkeypatch.setenv(name, "hush")
    (tmp_path / ".env").write_text(f"{name}=hush\nOTHER=1\nGIST_GROUP_ID=mine\n")
    assert find_warnings() == [line, f".env: {line}"]


def test_settings_and_variables_of_kubernetes_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in upper or lower case, and the variables that Kubernetes sets for services, cause no warning."""
    for name in ("GIST_CACHE_DIR", "gist_group_id", "GIST_THREADS", "GIT_LOG_LEVEL", "GISTS", "KAFKA_INPUT_TOPIC"):
        monkeypatch.setenv(name, "1")
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert not find_warnings()


@given(st.dictionaries(st.sampled_from(sorted(KNOWN | KUBERNETES.keys() - {"GIST_STREAM_PORT"})), st.text()))
def test_known_variables_are_never_unknown(variables: dict[str, str]) -> None:
    """A known variable causes no warning for any value."""
    assert not [*find_unknown(variables, KNOWN, prefix=PREFIX)]


@given(st.text())
def test_is_address_accepts_any_text(text: str) -> None:
    """The function returns a truth value for any text, without an error."""
    assert is_address(text) in {True, False}


@pytest.mark.parametrize("is_environment", [False, True])
def test_a_folder_named_env_is_reported_unless_it_is_a_virtual_environment(tmp_path: Path, *, is_environment: bool) -> None:
    """A virtual environment may have the name `.env`; any other folder may be a failed mount."""
    (tmp_path / ".env").mkdir()
    if is_environment:
        (tmp_path / ".env" / "pyvenv.cfg").touch()
    assert find_warnings() == ([] if is_environment else [".env is not a file, so no setting is read from it"])


def test_a_broken_link_named_env_is_reported(tmp_path: Path) -> None:
    """A link `.env` without a target causes a warning."""
    (tmp_path / ".env").symlink_to("nowhere")
    assert find_warnings() == [".env is not a file, so no setting is read from it"]


def test_a_command_warns_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command prints the warning before its own output."""
    monkeypatch.setenv("GIST_BOOTSTRAP_SERVER", "broker:9092")
    shown = CliRunner().invoke(app, ["topics", "--bootstrap-servers", "127.0.0.1:1"]).stderr
    assert shown.startswith("gist-stream: warning: GIST_BOOTSTRAP_SERVER is not a setting: did you mean GIST_BOOTSTRAP_SERVERS?\n")


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_named_pipe_is_refused_at_once(tmp_path: Path, *, is_linked: bool) -> None:
    """A `.env` that is a named pipe, or a link to one, ends every command with one line instead of a wait for a writer."""
    os.mkfifo(tmp_path / ("pipe" if is_linked else ".env"))
    if is_linked:
        (tmp_path / ".env").symlink_to("pipe")
    for function in (read, find_warnings):
        with pytest.raises(BadSettings, match=r"^\.env is a named pipe: only a regular file is read"):
            function()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'GIST_HTTP_PORT=1\nGIST_GROUP_ID="mine\n', 2),
        (b"GIST_GROUP_ID='mine\n", 1),
        (b"OTHER=1\n\nGIST_GROUP_ID: mine\n", 3),
        (b"- GIST_GROUP_ID: mine\n", 1),
        (b"set GIST_GROUP_ID=mine\n", 1),
        (b"export GIST_GROUP_ID\n", 1),
        (b"gist_group_id\n", 1),
        (b"OTHER=1\n\xef\xbb\xbfGIST_GROUP_ID=mine\n", 2),
        ("GIST_GROUP_ID=mine\n".encode("utf-16-le"), 1),
        ("GIST_GROUP_ID=mine\n".encode("utf-16-be"), 1),
    ],
)
def test_a_line_without_a_readable_value_is_refused(tmp_path: Path, content: bytes, line: int) -> None:
    """A setting in a line that cannot be parsed would have no effect, without a word."""
    (tmp_path / ".env").write_bytes(content)
    for function in (read, find_warnings):
        with pytest.raises(BadSettings, match=rf"^GIST_GROUP_ID: \.env, line {line}: no value can be read: write NAME=value"):
            function()


@pytest.mark.parametrize(
    "content",
    ["GIST_GROUP_ID=mine", " export GIST_GROUP_ID = 'mine'", 'gist_group_id="mine" # ours', "a: b\n'\nGIST_GROUP_ID=mine"],
)
def test_other_lines_and_notations_of_a_value_are_read(tmp_path: Path, content: str) -> None:
    """Lines of other programs do not matter."""
    (tmp_path / ".env").write_text(content)
    assert read().group_id == "mine"

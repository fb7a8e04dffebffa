"""Variables with our prefix: each has an effect, or is named with the setting that it resembles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from worker.cli import app
from worker.commands.variables import find_warnings
from worker.settings import Settings
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
    """Hide our variables and any `.env` of the folder that the tests run in."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("GIST_BOOTSTRAP_SERVER", "GIST_BOOTSTRAP_SERVER is no setting: did you mean GIST_BOOTSTRAP_SERVERS?"),
        ("GIST_INPUT_TOPC", "GIST_INPUT_TOPC is no setting: did you mean GIST_INPUT_TOPIC?"),
        ("gist_http_prt", "GIST_HTTP_PRT is no setting: did you mean GIST_HTTP_PORT?"),
        ("GIST_XYZZY", "GIST_XYZZY is no setting and has no effect"),
    ],
)
def test_a_typo_is_named_with_the_nearest_setting(name: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the environment and in `.env`; its value, which may be a secret, is never shown."""
    monkeypatch.setenv(name, "hush")
    (tmp_path / ".env").write_text(f"{name}=hush\nOTHER=1\nGIST_GROUP_ID=mine\n")
    assert find_warnings() == [line, f".env: {line}"]


def test_what_has_an_effect_is_no_typo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting, in capitals or not, the directory of the kernels, and what Kubernetes tells of services."""
    for name in ("GIST_CACHE_DIR", "gist_group_id", "GIST_THREADS"):
        monkeypatch.setenv(name, "1")
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(name, value)
    assert not find_warnings()


@given(st.dictionaries(st.sampled_from(sorted(KNOWN | KUBERNETES.keys() - {"GIST_STREAM_PORT"})), st.text()))
def test_known_variables_are_never_unknown(variables: dict[str, str]) -> None:
    """Whatever their values."""
    assert not [*find_unknown(variables, KNOWN, prefix=PREFIX)]


@given(st.text())
def test_any_text_may_be_asked_whether_it_is_an_address(text: str) -> None:
    """The answer is yes or no."""
    assert is_address(text) in {True, False}


@pytest.mark.parametrize("is_environment", [False, True])
def test_a_folder_of_the_name_is_no_file(tmp_path: Path, *, is_environment: bool) -> None:
    """A virtual environment may be called `.env`; any other folder may be a mount that went wrong."""
    (tmp_path / ".env").mkdir()
    if is_environment:
        (tmp_path / ".env" / "pyvenv.cfg").touch()
    assert find_warnings() == ([] if is_environment else [".env is not a file: no setting is read from there"])


def test_a_link_to_nothing_is_no_file(tmp_path: Path) -> None:
    """It is named."""
    (tmp_path / ".env").symlink_to("nowhere")
    assert find_warnings() == [".env is not a file: no setting is read from there"]


def test_a_command_warns_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything else."""
    monkeypatch.setenv("GIST_BOOTSTRAP_SERVER", "broker:9092")
    shown = CliRunner().invoke(app, ["topics", "--bootstrap-servers", "127.0.0.1:1"]).stderr
    assert shown.startswith("gist-stream: warning: GIST_BOOTSTRAP_SERVER is no setting: did you mean GIST_BOOTSTRAP_SERVERS?\n")

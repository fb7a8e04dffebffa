"""The demo of a search in SQL, on a real Kafka, Kafka Connect and PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from worker.commands.demo.search import build_jdbc_sink, demo_search
from worker.errors import BadSettings, BrokerUnavailable
from worker.testbed.kafka_connect import fetch_jdbc_sink
from worker.testbed.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture
def database() -> Iterator[EmbeddedPostgres]:
    """Give a database; skip the test where the package is missing or its binaries do not run."""
    try:
        with EmbeddedPostgres() as started:
            yield started
    except BadSettings as error:
        pytest.skip(f"no PostgreSQL: {error}")


def test_the_database_answers(database: EmbeddedPostgres) -> None:
    """Rows are objects, text is UTF-8, and an error is one exception with the words of the server."""
    assert database.select("SELECT 1 AS one, 'Zürich' AS name") == [{"one": 1, "name": "Zürich"}]
    database.execute("CREATE EXTENSION vector")
    assert database.select("SELECT '[1,2]'::vector <-> '[1,4]' AS distance") == [{"distance": 2}]
    with pytest.raises(BadSettings, match=r"PostgreSQL refuses the statement: .*no_such_table"):
        database.execute("SELECT * FROM no_such_table")


@pytest.mark.kafka
@pytest.mark.timeout(480)
def test_texts_are_found_in_sql(kafka: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After a kill of worker and connector each text is in the table once, and each question finds its answer."""
    # The archive is unpacked once for all runs, next to the data of the other tests.
    home = ROOT / ".data" / "demo-search"
    home.mkdir(parents=True, exist_ok=True)
    try:
        fetch_jdbc_sink(home / ".demo" / "connect-plugins")
        EmbeddedPostgres().stop()
    except (BrokerUnavailable, BadSettings) as error:
        pytest.skip(f"a part of the demo cannot be fetched: {error}")
    monkeypatch.setenv("GIST_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.chdir(home)
    assert demo_search(count=300) == 0
    shown = capsys.readouterr().out
    assert "kill -9     worker and connector" in shown
    assert "307 rows of 307 texts" in shown
    assert "The train to Berlin leaves at eight o'clock. (cosine" in shown


def test_the_page_shows_the_configuration_of_the_demo() -> None:
    """The configuration of the JDBC sink in docs/use/sinks.md is the tested one."""
    found = re.search(
        r"<!-- example: jdbc -->\n```properties\n(.*?)```", (ROOT / "docs" / "use" / "sinks.md").read_text(), re.DOTALL
    )
    assert found is not None
    shown = dict(line.split("=", 1) for line in found[1].replace("\\\n", "").splitlines())
    expected = {"name": "gist-texts"} | build_jdbc_sink("texts.flat", port=5432)
    assert {name: value.replace(" ", "") for name, value in shown.items()} == expected

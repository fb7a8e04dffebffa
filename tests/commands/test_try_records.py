"""The command `try`: each record is shown with what was read from it, or with the reason for which it has no output."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.makers import tokenized
from worker.commands import try_records as command
from worker.composition.pipeline import build_outcome_builder
from worker.errors import BadSettings
from worker.records import Item, Outcome, Output, Partition, Prediction, Record, Task, Window
from worker.settings import Settings, read
from worker.settings.connection import PREFIX
from worker.wire.result_values import read_results

if TYPE_CHECKING:
    from worker.flow.outcomes import OutcomeBuilder

PAGE = Path(__file__).parents[2] / "docs" / "use" / "input.md"
# Name, exported settings, value and result of each example.
_EXAMPLE = re.compile(r"<!-- try: (\w+) -->\n(?:```sh\n(.*?)```\n)?```json\n(.*?)```\n```text\n(.*?)```", re.DOTALL)
EXAMPLES = {name: rest for name, *rest in _EXAMPLE.findall(PAGE.read_text())}


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all variables of settings, and run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)


def builder(settings: Settings) -> OutcomeBuilder:
    """Return the decoder and encoder of a worker."""
    return build_outcome_builder(settings, frozenset(Task), model_name="m@1", warn=lambda _warning: None)


def test_every_example_of_the_page_is_found() -> None:
    assert len(EXAMPLES) == PAGE.read_text().count("<!-- try: ")


@pytest.mark.parametrize(("exports", "value", "shown"), EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_page_show_what_the_worker_reads(
    monkeypatch: pytest.MonkeyPatch, exports: str, value: str, shown: str
) -> None:
    for assignment in shlex.split(exports.replace("export ", "")):
        name, _, given = assignment.partition("=")
        monkeypatch.setenv(name, given)
    settings = read()
    decoded = builder(settings).decode(Record(Partition("texts", 0), 0, b"7", json.dumps(json.loads(value)).encode()))
    item, outcome = (decoded, Outcome(decoded.record)) if isinstance(decoded, Item) else (None, decoded)
    lines = list(command.format_outcome(settings, item, outcome))
    assert "\n".join(line.plain.removeprefix("  ") for line in lines[1:]) == shown.rstrip("\n")


def test_texts_and_objects_are_records() -> None:
    """An argument that begins like a JSON object is the value of a record, and every other argument is a text."""
    records = command.read_records(read(), ["Hello.", ' {"text":"x"}'], file=None, key=b"k", count=1)
    decoded = [builder(read()).decode(record) for record in records]
    assert [item.text for item in decoded if isinstance(item, Item)] == ["Hello.", "x"]
    assert {record.key for record in records} == {b"k"}


def test_lines_of_a_file_are_records(tmp_path: Path) -> None:
    """Blank lines are left out, and `count` limits the records."""
    (tmp_path / "records.jsonl").write_text('{"a":1}\n\n{"a":2}\n{"a":3}\n')
    found = command.read_records(read(), (), file=tmp_path / "records.jsonl", key=None, count=2)
    assert [record.value for record in found] == [b'{"a":1}', b'{"a":2}']


def test_a_file_without_a_record_and_two_sources_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(BadSettings, match=r"empty\.jsonl: there is no record to try"):
        command.read_records(read(), (), file=tmp_path / "empty.jsonl", key=None, count=2)
    with pytest.raises(BadSettings, match="give texts or --file"):
        command.try_records(read(), ["x"], file=tmp_path / "empty.jsonl")


@pytest.mark.timeout(120)
def test_the_outputs_of_a_record_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """People get labels, entities and the size of the vector; programs get the values by topic."""
    texts = ["Ada Lovelace loved London.", '{"body":"x"}']
    command.try_records(read({"dtype": "float32"}), texts)
    shown = capsys.readouterr().out
    assert re.search(r"entities +Ada Lovelace.PER  London.LOC\n", shown)
    assert "384 numbers" in shown
    assert "dead letter decode: there is no `text`; fields seen: body" in shown
    command.try_records(read({"dtype": "float32"}), texts, is_json=True)
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(lines[0]["outputs"]) == {"texts.embeddings", "texts.labels", "texts.entities"}
    assert lines[1] == {"record": "texts-0@1", "dead_letter": "decode: there is no `text`; fields seen: body", "outputs": {}}


@pytest.mark.parametrize("layout", ["split", "flat", "qdrant"])
def test_the_chunks_of_a_text_are_shown_in_one_value(layout: str) -> None:
    """As with `tail`, so that the last chunk does not hide the others."""
    settings = read({"long_text": "chunks", "output_layout": layout})
    made = tokenized(1, 4)
    windows = (Window(1, 2, 0, 2), Window(2, 3, 2, 4))
    made = replace(made, tokens=replace(made.tokens, windows=windows))
    vectors = np.eye(2, dtype=np.float32)
    prediction = Prediction(embedding=vectors[0], labels={}, entities=(), window_vectors=vectors)
    outcome = builder(settings).from_prediction(made, prediction)
    outputs = command.describe_outcome(settings, made.item, outcome)["outputs"]
    chunks = outputs["texts.embeddings" if layout == "split" else f"texts.{layout}"]["chunks"]
    assert [chunk["payload"]["gist"]["number"] if layout == "qdrant" else chunk["number"] for chunk in chunks] == [0, 1]
    assert "2 chunks" in "".join(line.plain for line in command.format_outcome(settings, made.item, outcome))


def test_a_field_of_the_input_may_be_called_chunks() -> None:
    """Only embeddings have chunks; another layout has the fields of the record."""
    assert read_results({Output.ENRICHED: {"id": "1", "chunks": None, "gist": {}}}, "gist").num_chunks == 0

"""The command `data`: it shows the content of files as text and as JSON, and reports a broken file in one line."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import orjson
import pytest
from typer.testing import CliRunner

from worker.cli import app, main
from worker.commands.training.data import format_example
from worker.training.data.examples import LabelledText, Span, TaggedText

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Return a file with entities, one of whose tags violates its scheme."""
    path = tmp_path / "people.conll"
    path.write_text("Ada B-PER\nin O\nParis B-LOC\n\nADA B-PER\nin O\nParis B-LOC\n\nhey O\nBob I-PER\n")
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Return a table with broken lines."""
    path = tmp_path / "reviews.csv"
    path.write_text("review,mood\ngood,pos\nbad\nbad,neg\nawful\n")
    return path


def shown(*arguments: object) -> str:
    """Return the output of the command."""
    result = CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "120"}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_kind_classes_lengths_duplicates_and_texts_are_shown(people: Path) -> None:
    """The report marks the entities, and names tags that violate the scheme."""
    output = shown(people)
    for expected in (
        "entities (CoNLL, iob2, words in column 1, tags in column 2 of 2)",
        "texts: 3, without a label: 0, empty: 0",
        "copies of another text: 0, near-duplicates: 1, with other labels: 0",
        "words: p50 3, p90 3, p99 3, max 3",
        "PER        3  60.0%",
        "[Ada PER] in [Paris LOC]",
        "tags that violate the scheme, repaired: 1, the first: ",
        "10: I-PER after O",
    ):
        assert expected in output


def test_files_are_compared(people: Path, tmp_path: Path) -> None:
    """The report names pairs of files that share texts."""
    (tmp_path / "other.conll").write_text("Ada B-PER\nin O\nParis B-LOC\n")
    (tmp_path / "third.conll").write_text("nothing O\nof O\nit O\n")
    lines = shown(people, tmp_path / "other.conll", tmp_path / "third.conll").splitlines()
    assert [line for line in lines if line.startswith("texts of ")] == [
        f"texts of {tmp_path / 'other.conll'} that are also in {people}: 1 copies, 0 near-duplicates"
    ]


def test_flags_say_what_cannot_be_found_out(reviews: Path) -> None:
    """Flags select the columns, the format and the scheme, and `--skip-broken` drops broken lines."""
    output = shown(reviews, "--format", "csv", "--text-column", "mood", "--label-column", "1", "--skip-broken", "--examples", "1")
    assert "binary (CSV, text in 'mood', label in 'review')" in output
    assert f"broken and left out: 2, the first: {reviews}:3: 1 columns; the header has 2" in output
    assert "  good  pos" in output
    assert "  bad  neg" not in output


def test_all_of_it_is_json(people: Path) -> None:
    """The JSON has the first texts of each file."""
    found = orjson.loads(shown(people, "--json", "--examples", "1"))
    assert found["files"][0]["classes"]["PER"] == {"num": 3, "share": 0.6}
    assert found["examples"][str(people)] == [
        {
            "text": "Ada in Paris",
            "spans": [{"type": "PER", "start": 0, "end": 3}, {"type": "LOC", "start": 7, "end": 12}],
            "line": 1,
        }
    ]


def test_a_broken_file_is_one_line_and_an_exit_code(
    reviews: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the first broken row and the number of other broken rows."""
    monkeypatch.setattr(sys, "argv", ["gist-stream", "data", str(reviews)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"gist-stream: {reviews}:3: 1 columns; the header has 2 (and 1 more); --skip-broken leaves out broken rows\n"
    )


def test_a_file_of_broken_lines_shows_the_first_reason(tmp_path: Path) -> None:
    """The error has the line number, and does not suggest `--skip-broken`, which would leave no text."""
    path = tmp_path / "commas.jsonl"
    path.write_text('{"text":"a","label":"x"},\n{"text":"b","label":"y"},\n')
    result = CliRunner().invoke(app, ["data", str(path)])
    assert str(result.exception).startswith(f"{path}:1: not JSON: ")
    assert "--skip-broken" not in str(result.exception)


def test_rejected_answers_are_counted(tmp_path: Path) -> None:
    """The report and the JSON have the number of rejected texts."""
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(f'{{"text":"{name}","label":"x","answer":"{name}"}}\n' for name in ("accept", "reject", "ignore")))
    assert "rejected or skipped by annotators and left out: 2" in shown(path)
    (found,) = orjson.loads(shown(path, "--json"))["files"]
    assert (found["num_texts"], found["num_rejected"]) == (1, 2)


def test_the_splits_of_a_saved_data_set_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report shows each split like a file."""
    (tmp_path / "train").mkdir()
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (tmp_path / "train" / "state.json").write_text('{"_data_files": []}')
    (tmp_path / "train" / "dataset_info.json").write_text("{}")
    monkeypatch.setattr("worker.training.data.readers.arrow._read_rows", lambda _path: iter([{"text": "good", "label": "pos"}]))
    assert "train\n  binary (Arrow, text in 'text', label in 'label')" in shown(tmp_path)


def test_many_classes_are_cut_short(tmp_path: Path) -> None:
    """The JSON has all classes."""
    path = tmp_path / "many.csv"
    path.write_text("text,label\n" + "".join(f"text {n},class {n}\n" for n in range(40)))
    assert "and 10 more" in shown(path)
    assert len(orjson.loads(shown(path, "--json"))["files"][0]["classes"]) == 40


def test_a_text_is_marked_on_one_line() -> None:
    """Line breaks are replaced, and brackets of the text stay."""
    assert format_example(TaggedText("[x] Ada\nL.", (Span("PER", 4, 10),))).plain == "[x] [Ada⏎L. PER]"
    assert format_example(LabelledText("a\r\n[b]", ("x", "y"))).plain == "x, y  a⏎[b]"


def test_looking_at_data_needs_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, worker.commands.training.data, worker.training.data.labels, worker.training.data.splits;"
        "sys.exit(bool({'torch', 'numpy', 'aiokafka', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

"""The command `evaluate`: input files, output and errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.training.evaluation.reports import small_report
from worker.cli import app
from worker.commands.training.evaluate import evaluate
from worker.commands.training.flags import require_packages
from worker.errors import BadSettings
from worker.training.data.layout import Format
from worker.training.evaluation import evaluate as module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.training.data.examples import LabelledData, TaggedData
    from worker.training.evaluation.evaluate import EvaluateOptions
    from worker.training.evaluation.report import EvaluationReport

DEFAULTS: dict[str, Any] = {
    "checkpoint": "m",
    "examples": 3,
    "seed": 7,
}
Call = tuple["EvaluateOptions", "list[LabelledData]", "list[TaggedData]"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Replace the evaluation, and return the list of its calls."""
    found: list[Call] = []

    def stand_in(
        options: EvaluateOptions, texts: list[LabelledData], tagged: list[TaggedData], progress: Callable[[str], None]
    ) -> EvaluationReport:
        progress("measuring")
        found.append((options, texts, tagged))
        return small_report()

    monkeypatch.setattr(module, "evaluate", stand_in)
    return found


def test_files_go_in_and_tables_json_and_a_picture_come_out(
    tmp_path: Path, calls: list[Call], capsys: pytest.CaptureFixture[str]
) -> None:
    """Progress goes to standard error."""
    pytest.importorskip("matplotlib")
    (tmp_path / "a.jsonl").write_text('{"text": "good", "label": "yes"}\n{"text": "bad", "label": "no"}\n')
    (tmp_path / "b.conll").write_text("@\tO\nAda\tB-person\n")
    paths = {"labels": [tmp_path / "a.jsonl"], "entities": [tmp_path / "b.conll"]}
    evaluate(**DEFAULTS | paths | {"json_path": tmp_path / "it.json", "plot_path": tmp_path / "it.png", "dtype": "int8"})
    ((options, (texts,), (tagged,)),) = calls
    assert (options.model, options.dtype, options.report.num_examples, options.report.seed) == ("m", "int8", 3, 7)
    assert [(text.text, text.labels) for text in texts.texts] == [("good", ("yes",)), ("bad", ("no",))]
    assert (tagged.texts[0].text, tagged.labels, options.types["person"]) == ("@Ada", ("person",), "PER")
    shown = capsys.readouterr()
    assert "mood, x/y.jsonl" in shown.out
    assert shown.err == "measuring\n"
    assert json.loads((tmp_path / "it.json").read_text())["model"] == "m@1"
    assert (tmp_path / "it.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], "give texts to evaluate on"),
        (["--dtype", "half"], "'half' is not one of"),
        (["--backend", "x"], "'x' is not one of"),
    ],
)
def test_flags_are_checked_before_any_file_is_read(flags: list[str], reason: str, calls: list[Call]) -> None:
    """The exit code or the error is that of a wrong setting."""
    result = CliRunner().invoke(app, ["evaluate", "m", *flags])
    assert reason in result.output + str(result.exception)
    assert not calls


def test_the_layout_is_that_of_the_files_with_labels_where_there_are_some(tmp_path: Path, calls: list[Call]) -> None:
    """The layout applies to entity files only if there are no label files."""
    (tmp_path / "a.txt").write_text("ticket,klass\ngood,yes\n")
    (tmp_path / "b.conll").write_text("Ada\tx\tB-PER\n")
    columns = {"text_column": "ticket", "label_column": "klass", "format_": Format.CSV}
    evaluate(**DEFAULTS | {"labels": [tmp_path / "a.txt"], "entities": [tmp_path / "b.conll"]} | columns)
    evaluate(**DEFAULTS | {"entities": [tmp_path / "b.conll"], "text_column": "2"})
    assert [(text.text, text.labels) for text in calls[0][1][0].texts] == [("good", ("yes",))]
    assert [calls[0][2][0].texts[0].text, calls[1][2][0].texts[0].text] == ["Ada", "x"]


@pytest.mark.parametrize("flag", ["json_path", "plot_path"])
def test_a_missing_directory_is_refused_before_the_evaluation(tmp_path: Path, calls: list[Call], flag: str) -> None:
    """The error names the missing directory."""
    with pytest.raises(BadSettings, match="no such directory"):
        evaluate(**DEFAULTS | {"labels": [tmp_path / "x"], flag: tmp_path / "nowhere" / "it"})
    assert not calls


def test_a_file_of_the_other_kind_is_refused(tmp_path: Path, calls: list[Call]) -> None:
    """A file of entities is no file of labels, and vice versa."""
    (tmp_path / "a.jsonl").write_text('{"text": "good", "label": "yes"}\n')
    (tmp_path / "b.conll").write_text("Ada\tB-PER\n")
    with pytest.raises(BadSettings, match=r"b\.conll: the kind of the file is entities; --labels needs texts with labels"):
        evaluate(**DEFAULTS | {"labels": [tmp_path / "b.conll"]})
    with pytest.raises(BadSettings, match=r"a\.jsonl: the kind of the file is binary; --entities needs texts with entities"):
        evaluate(**DEFAULTS | {"entities": [tmp_path / "a.jsonl"]})
    assert not calls


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the package and the extra that installs it."""
    monkeypatch.setattr("worker.commands.training.flags.find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(BadSettings, match=r"sklearn is not installed; .*: pip install 'gist-stream\[train\]'"):
        require_packages()

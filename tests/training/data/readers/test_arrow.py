"""Directories that `save_to_disk` wrote: numbers of classes become their names, and each way of not being one is one line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from worker.errors import BadSettings
from worker.training.data.examples import Data, LabelledText, Span, TaggedText
from worker.training.data.layout import Layout
from worker.training.data.read import read
from worker.training.data.readers import arrow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SENTIMENT = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
TAGS = {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}


@pytest.fixture(params=["rows", "files"])
def saved(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Save rows as the library does, in real Arrow files where they can be read; else their rows alone are given."""

    def save(features: Any, rows: list[dict[str, Any]]) -> Path:
        path = tmp_path / "saved"
        path.mkdir(exist_ok=True)
        (path / "dataset_info.json").write_bytes(orjson.dumps({"features": features}))
        (path / "state.json").write_bytes(orjson.dumps({"_data_files": [{"filename": "data.arrow"}]}))
        if request.param == "rows":
            monkeypatch.setattr(arrow, "_read_rows", lambda _path: iter(rows))
            return path
        pa = pytest.importorskip("pyarrow")
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path / "data.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
        return path

    return save


def test_numbers_of_classes_become_names(saved: Callable[..., Path]) -> None:
    """Each text has the name of its class and the number of its row."""
    data: Data = read(saved(SENTIMENT, [{"text": "good", "label": 1}, {"text": "bad", "label": 0}]))
    assert data.texts == (LabelledText("good", ("pos",)), LabelledText("bad", ("neg",)))
    assert [text.line for text in data.texts] == [1, 2]
    assert data.source.read_as == "Arrow, text in 'text', label in 'label'"


@pytest.mark.parametrize("feature", [[TAGS], {"feature": TAGS, "_type": "Sequence"}, {"feature": TAGS, "_type": "List"}])
def test_lists_of_classes_become_names(saved: Callable[..., Path], feature: Any) -> None:
    """The names are found in each form that versions of the library use for a list of classes."""
    data = read(saved({"tokens": {}, "ner_tags": feature}, [{"tokens": ["Ada", "L", "ok"], "ner_tags": [1, 2, 0]}]))
    assert data.texts == (TaggedText("Ada L ok", (Span("PER", 0, 5),)),)


def test_spans_and_lists_of_names_stay_as_they_are(saved: Callable[..., Path]) -> None:
    """Spans and names are read without a list of classes."""
    data = read(saved({}, [{"text": "Ada", "spans": [{"start": 0, "end": 3, "label": "PER"}]}]))
    assert data.texts == (TaggedText("Ada", (Span("PER", 0, 3),)),)
    assert read(saved({}, [{"text": "Ada", "labels": ["a", "b"]}])).texts == (LabelledText("Ada", ("a", "b")),)


def test_a_text_without_a_class_is_broken(saved: Callable[..., Path]) -> None:
    """The library writes -1 for a hidden label; the error names the row, or the row is left out."""
    path = saved(SENTIMENT, [{"text": "good", "label": 1}, {"text": "hidden", "label": -1}])
    with pytest.raises(BadSettings, match="saved:2: no value for 'label'"):
        read(path)
    assert len(read(path, Layout(skips_broken=True)).texts) == 1


def test_splits_are_parts(tmp_path: Path) -> None:
    """Each split can be read; the directory of all splits is refused with their names."""
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert arrow.list_splits(tmp_path) == [tmp_path / "train", tmp_path / "test"]
    assert arrow.list_splits(tmp_path / "train") == [tmp_path / "train"]
    with pytest.raises(BadSettings, match=r"a data set with several splits; give one of them: .*/train, .*/test"):
        read(tmp_path)


def test_another_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="not a directory of `save_to_disk`"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_directory_is_one_line(tmp_path: Path, content: str) -> None:
    """The error names the damaged file."""
    (tmp_path / "state.json").write_text("{}")
    (tmp_path / "dataset_info.json").write_text(content)
    with pytest.raises(BadSettings, match=r"dataset_info\.json: (cannot be read|not a JSON object)"):
        read(tmp_path)


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error contains the `pip install` command."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "state.json").write_text('{"_data_files": []}')
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(BadSettings, match=r"reading it needs pyarrow: pip install 'gist-stream\[train\]'"):
        read(tmp_path)


def test_an_arrow_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    """The error names the Arrow file, also if the file is missing."""
    pytest.importorskip("pyarrow")
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (tmp_path / "dataset_info.json").write_text("{}")
    with pytest.raises(BadSettings, match=r"data\.arrow: cannot be read"):
        read(tmp_path)
    (tmp_path / "data.arrow").write_bytes(b"no arrow at all")
    with pytest.raises(BadSettings, match=r"data\.arrow: cannot be read"):
        read(tmp_path)

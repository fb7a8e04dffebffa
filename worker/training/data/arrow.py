"""Directories that `save_to_disk` of Hugging Face's `datasets` wrote: Arrow files and what their columns mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import BadSettings
from worker.training.data.lines import Troubles
from worker.training.data.rows import build_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from worker.training.data.examples import Data
    from worker.training.data.layout import Layout
    from worker.training.data.rows import Row

_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def parts(path: Path) -> list[Path]:
    """Return the directories of a data set's splits, or the path itself where it has none."""
    if not (path / _SPLITS).is_file():
        return [path]
    return [path / name for name in _json(path / _SPLITS)["splits"]]


def read(path: Path, layout: Layout) -> Data:
    """Read one split; raises `BadSettings` where it is not one, where its rows are broken, and where `pyarrow` is not installed."""
    if (path / _SPLITS).is_file():
        raise BadSettings(f"{path}: several data sets; give one of them: {', '.join(map(str, parts(path)))}")
    if not (path / _STATE).is_file():
        raise BadSettings(f"{path}: a directory, but not one that `save_to_disk` of Hugging Face's datasets wrote")
    names_of = {column: _decoder(feature) for column, feature in _json(path / _INFO).get("features", {}).items()}
    rows: list[Row] = []
    for row in _rows(path):
        rows.append((len(rows) + 1, {column: names_of.get(column, _as_is)(value) for column, value in row.items()}))
    return build_data(path, "Arrow", rows, layout, Troubles(path, is_kept=layout.skips_broken))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415  an extra, and this reader's alone
    except ImportError as error:
        raise BadSettings(f"{path}: reading it needs pyarrow: pip install 'gist-stream[train]'") from error
    for entry in _json(path / _STATE)["_data_files"]:
        file = path / entry["filename"]
        try:
            with pa.memory_map(str(file)) as content, pa.ipc.open_stream(content) as reader:
                for batch in reader:
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise BadSettings(f"{file}: cannot be read: {error}") from error


def _decoder(feature: Any) -> Callable[[Any], Any]:
    """Return what makes names of the numbers of a column of classes; a list of classes may be told of in three ways."""
    if isinstance(feature, list):
        return _each(_decoder(feature[0]))
    if not isinstance(feature, dict):
        return _as_is
    if feature.get("_type") == "ClassLabel":
        names = feature["names"]
        return lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return _each(_decoder(feature["feature"]))
    return _as_is


def _each(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: None if values is None else [decode(it) for it in values] if isinstance(values, list) else values


def _as_is(value: Any) -> Any:
    return value


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise BadSettings(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise BadSettings(f"{path}: not a JSON object")
    return value

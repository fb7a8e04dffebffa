"""Data sets that `save_to_disk` of Hugging Face's `datasets` wrote: Arrow files, and the features of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import BadSettings
from worker.training.data.readers.rows import build_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from worker.training.data.examples import Data
    from worker.training.data.layout import Layout
    from worker.training.data.readers.rows import Row

_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def list_splits(path: Path) -> list[Path]:
    """Return the directories of a data set's splits; the path itself if the data set has no splits."""
    if not (path / _SPLITS).is_file():
        return [path]
    return [path / name for name in _read_json(path / _SPLITS)["splits"]]


def read(path: Path, layout: Layout) -> Data:
    """Read one split; raises `BadSettings` for another directory, for broken rows, and if `pyarrow` is not installed."""
    if (path / _SPLITS).is_file():
        raise BadSettings(f"{path}: a data set with several splits; give one of them: {', '.join(map(str, list_splits(path)))}")
    if not (path / _STATE).is_file():
        raise BadSettings(f"{path}: not a directory of `save_to_disk` of Hugging Face's datasets")
    decoders = {column: _build_decoder(feature) for column, feature in _read_json(path / _INFO).get("features", {}).items()}
    rows: list[Row] = []
    for row in _read_rows(path):
        rows.append((len(rows) + 1, {column: decoders.get(column, _keep)(value) for column, value in row.items()}))
    return build_data(path, "Arrow", rows, layout, [])


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow as pa  # noqa: PLC0415  optional
    except ImportError as error:
        raise BadSettings(f"{path}: reading it needs pyarrow: pip install 'gist-stream[train]'") from error
    for entry in _read_json(path / _STATE)["_data_files"]:
        file = path / entry["filename"]
        try:
            with pa.memory_map(str(file)) as content, pa.ipc.open_stream(content) as reader:
                for batch in reader:
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise BadSettings(f"{file}: cannot be read: {error}") from error


def _build_decoder(feature: Any) -> Callable[[Any], Any]:
    """Return the conversion of a column's values: numbers of classes become names. A list of classes has three notations."""
    if isinstance(feature, list):
        return _apply_to_each(_build_decoder(feature[0]))
    if not isinstance(feature, dict):
        return _keep
    if feature.get("_type") == "ClassLabel":
        names = feature["names"]
        return lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return _apply_to_each(_build_decoder(feature["feature"]))
    return _keep


def _apply_to_each(decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: None if values is None else [decode(value) for value in values] if isinstance(values, list) else values


def _keep(value: Any) -> Any:
    return value


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise BadSettings(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise BadSettings(f"{path}: not a JSON object")
    return value

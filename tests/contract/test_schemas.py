"""The wire contract: the schema files are generated from the models, and accept what the models accept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import schemas
from schemas.__main__ import FOLDER, describe_type, main, stale

if TYPE_CHECKING:
    from pathlib import Path


def schema(name: str) -> dict[str, Any]:
    """Return the content of a schema file."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text())
    return loaded


def test_generated_files_are_current() -> None:
    """The schema files and the tables of the page agree with the models."""
    assert stale() == []
    assert main(["--check"]) == 0


def test_drift_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A changed file, a missing file, a file without a model and an old table are reported by name."""
    monkeypatch.setattr("schemas.__main__.FOLDER", tmp_path)
    page = tmp_path / "wire-contract.md"
    page.write_text("before\n<!-- fields: Entity -->\n<!-- /fields -->\nafter\n")
    monkeypatch.setattr("schemas.__main__.PAGE", page)
    assert main([]) == 0
    assert page.read_text().startswith(
        "before\n<!-- fields: Entity -->\n| field | type | meaning |\n| --- | --- | --- |\n| `type` |"
    )
    page.write_text(page.read_text().replace("`type`", "`kind`"))
    (tmp_path / "request.schema.json").write_text("{}")
    (tmp_path / "labels.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}")
    assert main(["--check"]) == 1
    reported = capsys.readouterr().err
    assert all(name in reported for name in ("request.schema.json", "labels.schema.json", "old.schema.json", page.name))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "array of `a`, `b`"),
        ({"anyOf": [{"contentEncoding": "base64", "type": "string"}, {"type": "null"}]}, "base64 or null"),
        ({"type": "object", "additionalProperties": {"$ref": "#/$defs/Label"}}, "object of object"),
    ],
)
def test_type_of_a_field_is_described_in_words(field: dict[str, Any], words: str) -> None:
    """The tables of the page name each type as JSON does."""
    assert describe_type(field) == words


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_each_file_is_a_json_schema(path: Path) -> None:
    """It follows the draft that it names, and describes every field."""
    content = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    assert content["description"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request", {"text": "hello"}),
        ("request", {"text": "hello", "id": "1", "tasks": ["embed", "ner"], "more": 1}),
        ("embedding", {"id": "1", "embedding": [0.5], "dim": 1, "encoding": "float"}),
        ("embedding", {"id": "1", "embedding": "AAAA", "dim": 3, "encoding": "int8"}),
        ("embedding", {"id": "1", "embedding": "AAAA", "dim": 3, "encoding": "int8", "scale": 0.002}),
        ("labels", {"id": "1", "labels": {"s": {"label": "a", "score": 1.0, "scores": {"a": 1.0}}}}),
        ("entities", {"id": "1", "entities": []}),
    ],
)
def test_a_value_of_the_contract_is_accepted(name: str, value: dict[str, Any]) -> None:
    """The schema file and the model accept the value."""
    jsonschema.validate(value, schema(name))
    model = {model.__name__.lower(): model for model in schemas.MODELS}[name]
    model.model_validate(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("request", {}),
        ("request", {"text": ""}),
        ("request", {"text": "x", "tasks": ["translate"]}),
        ("embedding", {"id": "1", "embedding": [0.5], "dim": 0, "encoding": "float"}),
        ("embedding", {"id": "1", "embedding": [0.5], "dim": 1, "encoding": "float", "more": 1}),
        ("embedding", {"id": "1", "embedding": "AAAA", "dim": 3, "encoding": "int8", "scale": 0}),
        ("labels", {"id": "1", "labels": {"s": {"label": "a", "score": 1.5, "scores": {}}}}),
        ("entities", {"id": "1", "entities": [{"type": "PER"}]}),
    ],
)
def test_a_value_outside_the_contract_is_refused(name: str, value: dict[str, Any]) -> None:
    """The schema file refuses the value."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema(name))

"""Write the files that are generated from the wire contract: the JSON Schema files, and the tables of docs/use/wire-contract.md.

python -m schemas            writes schemas/v1/*.schema.json and the tables
python -m schemas --check    exits 1 if a file is not current
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import HEADERS, MODELS, VERSION
from schemas.v1 import MODEL_HEADERS, SOURCE_HEADERS, TEXT_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

FOLDER = Path(__file__).parent / f"v{VERSION}"
PAGE = Path(__file__).parents[1] / "docs" / "use" / "wire-contract.md"
_TABLE = re.compile(r"(?P<start><!-- (?P<kind>fields|headers): (?P<name>\w+) -->\n).*?(?P<end><!-- /(?P=kind) -->)", re.DOTALL)
_HEADERS = {"source": SOURCE_HEADERS, "model": MODEL_HEADERS, "text": TEXT_HEADERS}


def files() -> dict[Path, str]:
    """Return the text of each generated file by its path. The page is left out where it is missing, as in an installed package."""
    found = {FOLDER / f"{snake_case(model)}.schema.json": json.dumps(build_schema(model), indent=2) + "\n" for model in MODELS}
    return found | ({PAGE: _TABLE.sub(_build_table, PAGE.read_text())} if PAGE.exists() else {})


def snake_case(model: type[BaseModel]) -> str:
    """Return the name of a model as file names have it: `DeadLetter` is `dead_letter`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", model.__name__).lower()


def build_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a model, with the headers of its messages as a comment."""
    ids = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:gist-stream:v{VERSION}:{snake_case(model)}"}
    schema = ids | model.model_json_schema()
    if model in HEADERS:
        # JSON Schema has no keyword for the headers of a message.
        schema["$comment"] = "Headers: " + " ".join(f"`{header}`: {meaning}" for header, meaning in HEADERS[model].items())
    return schema


def _build_table(match: re.Match[str]) -> str:
    if match["kind"] == "headers":
        rows = [f"| `{header}` | {meaning} |" for header, meaning in _HEADERS[match["name"]].items()]
        table = ["| header | meaning |", "| --- | --- |", *rows]
    else:
        schemas = {name: schema for model in MODELS for name, schema in model.model_json_schema().get("$defs", {}).items()}
        schemas |= {model.__name__: model.model_json_schema() for model in MODELS}
        schema = schemas[match["name"]]
        required = schema.get("required", ())
        rows = [
            f"| `{name}`{'' if name in required else ' (optional)'} | {describe_type(field)} | {field['description']} |"
            for name, field in schema["properties"].items()
        ]
        table = ["| field | type | meaning |", "| --- | --- | --- |", *rows]
    return match["start"] + "\n".join([*table, match["end"]])


def describe_type(field: Mapping[str, Any]) -> str:
    """Return the type of a field of a JSON Schema in words."""
    if "anyOf" in field:
        return " or ".join(describe_type(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    name = field.get("contentEncoding") or field.get("type", "object")
    # The values of an array or of an object with any keys.
    values = field.get("items") or field.get("additionalProperties")
    return f"{name} of {describe_type(values)}" if isinstance(values, dict) else str(name)


def stale() -> list[Path]:
    """Return the files that are missing, outdated or without a model."""
    expected = files()
    outdated = [path for path, text in expected.items() if not path.exists() or path.read_text() != text]
    return outdated + [path for path in FOLDER.glob("*.json") if path not in expected]


def main(arguments: list[str]) -> int:
    """Write or check the files; return the exit code."""
    if arguments == ["--check"]:
        outdated = stale()
        for path in outdated:
            sys.stderr.write(f"{path.name} is not current: run python -m schemas\n")
        return 1 if outdated else 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Write the JSON Schema files for producers and consumers in other languages, or check that they are current.

python -m schemas            writes schemas/v1/*.schema.json
python -m schemas --check    exits 1 where one of them is not what the models say
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from schemas import HEADERS, MODELS, VERSION

FOLDER = Path(__file__).parent / f"v{VERSION}"


def files() -> dict[Path, str]:
    """Return the text of each schema file by its path."""
    found = {}
    for model in MODELS:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", model.__name__).lower()
        ids = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:gist-stream:v{VERSION}:{name}"}
        schema = ids | model.model_json_schema()
        if model in HEADERS:
            # JSON Schema has no word for the headers of a message; a reader of the file needs them all the same.
            schema["$comment"] = "Headers: " + " ".join(f"`{header}`: {meaning}" for header, meaning in HEADERS[model].items())
        found[FOLDER / f"{name}.schema.json"] = json.dumps(schema, indent=2) + "\n"
    return found


def stale() -> list[Path]:
    """Return the files that are missing, outdated or nobody's."""
    expected = files()
    outdated = [path for path, text in expected.items() if not path.exists() or path.read_text() != text]
    return outdated + [path for path in FOLDER.glob("*.json") if path not in expected]


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    if arguments == ["--check"]:
        for path in stale():
            sys.stderr.write(f"{path.name} is not current: run python -m schemas\n")
        return 1 if stale() else 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

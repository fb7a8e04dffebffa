r"""Paths and templates of fields: where the text, the id and the tasks of a record are. Pure.

after.body              the field `body` of the object `after`
payload.items.0.text    the first element of a list
meta\.body              a field whose name has a dot

{title}\n\n{body}       two fields, with an empty line between them
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from worker.errors import InvalidRecord
from worker.wire.content import name_json_type

if TYPE_CHECKING:
    from collections.abc import Mapping

# A character after a backslash, or a dot that separates two names.
_PATH_TOKEN = re.compile(r"\\(.|$)|(\.)|([^\\.]+)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
# A doubled brace, a field, an escape, other characters, or a single brace, which is an error.
_TEMPLATE_TOKEN = re.compile(r"(\{\{|\}\})|\{([^{}]+)\}|\\([ntr\\])|([^{}\\]+|\\)|(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FieldPath:
    """The names on the way to a field. A name of digits is an index where the value is a list."""

    written: str
    names: tuple[str, ...]

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the path of a setting. Raises `ValueError` with the reason."""
        names = [""]
        for token in _PATH_TOKEN.finditer(written):
            escaped, dot, plain = token.groups()
            if escaped is not None and escaped not in {".", "\\"}:
                raise ValueError(f"a backslash precedes a dot or a backslash, not {escaped!r}")
            if dot:
                names.append("")
            else:
                names[-1] += escaped or plain
        if not all(names):
            raise ValueError(r"a name is empty: write names with a dot between them, and \. for a dot in a name")
        return cls(written, tuple(names))

    def find(self, fields: Mapping[str, Any], default: object = None) -> Any:
        """Return the value of the field; `default` if there is none."""
        value: Any = fields
        for name in self.names:
            if isinstance(value, dict):
                value = value.get(name, default)
            elif isinstance(value, list) and name.isdecimal() and name.isascii() and int(name[:9]) < len(value):
                value = value[int(name[:9])]
            else:
                return default
        return value

    def read_text(self, fields: Mapping[str, Any]) -> Any:
        """Return the text of a record, which the caller checks; None if there is none."""
        return self.find(fields)

    def build_fields(self, text: str) -> dict[str, Any]:
        """Return an object with the text in this field."""
        fields: Any = text
        for name in reversed(self.names):
            fields = {name: fields}
        return dict(fields)

    def __str__(self) -> str:
        """Return the path as a setting has it."""
        return self.written


@dataclass(frozen=True, slots=True)
class _Part:
    """A field of a template, with what precedes it: a separator, which the first field of a text does not need, and a label."""

    separator: str
    label: str
    path: FieldPath


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text of several fields. A field that is absent, null or blank is left out, with its separator and its label."""

    written: str
    parts: tuple[_Part, ...]
    #: The end of the text, if the last field is there.
    ending: str

    @classmethod
    def parse(cls, written: str) -> Self:
        """Return the template of a setting. Raises `ValueError` with the reason."""
        parts, before = list[_Part](), ""
        for token in _TEMPLATE_TOKEN.finditer(written):
            brace, path, escape, plain, stray = token.groups()
            if stray:
                raise ValueError("a brace is not closed: write {name} for a field, and {{ or }} for a brace")
            if path is None:
                before += brace[0] if brace else _ESCAPES[escape] if escape else plain
                continue
            # The first letter or digit begins the label of the next field.
            label = re.search(r"\w", before)
            cut = label.start() if label else len(before)
            is_first = not parts
            parts.append(_Part("" if is_first else before[:cut], before if is_first else before[cut:], FieldPath.parse(path)))
            before = ""
        if not parts:
            raise ValueError(r"no field is named: write {name} for a field, as in {title}\n\n{body}")
        return cls(written, tuple(parts), before)

    def build_fields(self, text: str) -> dict[str, Any]:
        """Return an object with the text in the first field of the template."""
        return self.parts[0].path.build_fields(text)

    def read_text(self, fields: Mapping[str, Any]) -> str | None:
        """Return the text of a record; None if no field has a value. Raises `InvalidRecord` for a value that is no text."""
        text, value = "", ""
        for part in self.parts:
            value = _read_part(part.path, fields)
            if value:
                text += f"{part.separator if text else ''}{part.label}{value}"
        return text + self.ending if value else text or None

    def __str__(self) -> str:
        """Return the template as a setting has it."""
        return self.written


def _read_part(path: FieldPath, fields: Mapping[str, Any]) -> str:
    """Return the text of a field: a string, or the digits of a number; empty for null and for white space."""
    value = path.find(fields)
    if value is None:
        return ""
    if isinstance(value, str):
        return value if value.strip() else ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise InvalidRecord(f"`{path}` must be a string or a number, not {name_json_type(value)}")

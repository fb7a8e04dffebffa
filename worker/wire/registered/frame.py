"""The bytes before the data of a registered value, and the schemas that a registry returns. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    # Returns the content of a registered value, ready for JSON but for bytes. Raises `InvalidRecord` and no other exception.
    ValueReader: TypeAlias = Callable[[bytes], Any]

_MAGIC_BYTE = 0
#: The magic byte, and the id of the schema in four bytes.
NUM_PREFIX_BYTES = 5

#: A text in base64. A .proto file with a message is none.
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")

#: The bound of the text of a schema and its references.
MAX_SCHEMA_CHARS = 1_048_576


class InvalidSchema(ValueError):
    """A schema that is not read; the message is the reason."""


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as a registry returns it."""

    #: `AVRO`, `JSON` or `PROTOBUF`.
    type: str
    #: The text of the schema; of Protobuf the .proto file, or its serialized descriptor in base64.
    text: str
    #: The texts of the schemas that this schema refers to; a schema comes after those that it refers to itself.
    references: tuple[str, ...] = ()


def read_schema_id(value: bytes | None) -> int | None:
    """Return the id of the schema of a value or a key; None for a value without the prefix."""
    is_registered = value is not None and len(value) >= NUM_PREFIX_BYTES and value[0] == _MAGIC_BYTE
    return int.from_bytes(value[1:NUM_PREFIX_BYTES]) if value is not None and is_registered else None


def build_prefix(schema_id: int) -> bytes:
    """Return the bytes before the data of a value with this schema."""
    return bytes([_MAGIC_BYTE]) + schema_id.to_bytes(NUM_PREFIX_BYTES - 1)

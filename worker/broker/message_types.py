"""The types from which the worker declares the messages of Kafka that aiokafka 0.14 does not have.

Names, order and versions of the fields are those of Kafka's message definitions:
https://github.com/apache/kafka/tree/4.3.1/clients/src/main/resources/common/message. All are flexible versions, without tags.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int8, Schema, TaggedFields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BytesIO

#: A compact string, which may be null.
TEXT = CompactString("utf-8")
#: The value of a field of tags without tags.
NO_TAGS: dict[int, bytes] = {}


class Uuid(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """A topic id: 16 bytes."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        """Return the bytes of an id."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        """Return the id at the start of `data`."""
        return uuid.UUID(bytes=data.read(16))


class NullableStruct(AbstractType):  # type: ignore[misc]  # aiokafka has no types
    """A struct that may be null: a byte, -1 for null and 1 for the struct that follows."""

    def __init__(self, *fields: tuple[str, Any]) -> None:
        self._schema = build_struct(*fields)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a tuple of values, or of None."""
        return bytes(Int8.encode(-1)) if value is None else bytes(Int8.encode(1) + self._schema.encode(value))

    def decode(self, data: BytesIO) -> Any:
        """Return a tuple of values, or None."""
        return None if Int8.decode(data) < 0 else self._schema.decode(data)


def build_struct(*fields: tuple[str, Any]) -> Schema:
    """Return the schema of a struct of a flexible version. Its last field is the tags."""
    return Schema(*fields, ("tags", TaggedFields))


def build_array(*fields: tuple[str, Any]) -> CompactArray:
    """Return the type of an array of structs of a flexible version."""
    return CompactArray(*fields, ("tags", TaggedFields))


def declare_request(name: str, api_key: int, version: int, request: Schema, response: Schema) -> type[RequestStruct]:
    """Return the class of a request, which names the class of its response."""
    numbers = {"API_KEY": api_key, "API_VERSION": version}
    response_type = type(f"{name}Response", (Response,), {**numbers, "SCHEMA": response})
    namespace = {**numbers, "SCHEMA": request, "FLEXIBLE_VERSION": True, "RESPONSE_TYPE": response_type}
    return type(f"{name}Request", (RequestStruct,), namespace)


class FixedVersionRequest(Request[RequestStruct]):  # type: ignore[misc]  # aiokafka has no types
    """A request with its values, in one version."""

    API_KEY = -1

    def __init__(self, struct: type[RequestStruct], *values: object) -> None:
        """Set the values of all fields but the tags."""
        self.API_KEY = struct.API_KEY
        self.struct = struct
        self.values = values

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> RequestStruct:
        """Return the message for a broker with these versions. Raises `IncompatibleBrokerVersion` if it lacks the version."""
        oldest, newest = versions.get(self.struct.API_KEY, (0, -1))
        if not oldest <= self.struct.API_VERSION <= newest:
            raise IncompatibleBrokerVersion(f"{self.struct.__name__} needs version {self.struct.API_VERSION}")
        return self.build(self.struct)

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        """Return the message."""
        return request_struct_class(*self.values, NO_TAGS)

"""Turns messages of Protobuf into objects with the names of the .proto file. Pure.

A field without a value has its default. A field with presence (a message, `optional`, `oneof`) is left out without a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from worker.errors import InvalidRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Returns the form of a value; the list has the number of fields that may still be built.
    Convert: TypeAlias = Callable[[Any, list[int]], Any]

#: The package of the well-known types.
GOOGLE = "google.protobuf"
#: Messages that are any value of JSON.
JSON_VALUES = frozenset(f"{GOOGLE}.{name}" for name in ("Struct", "Value", "ListValue"))
# Messages with a form of their own in JSON: https://protobuf.dev/programming-guides/json/
_JSON_FORMS = JSON_VALUES | {f"{GOOGLE}.{name}" for name in ("Timestamp", "Duration", "FieldMask")}
_WRAPPERS = frozenset(
    f"{GOOGLE}.{name}Value" for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """The form of the messages of one type."""

    #: The scalar fields without presence with their defaults, and the lists and objects with the functions that make them.
    scalars: Mapping[str, Any]
    containers: Mapping[str, Callable[[], Any]]
    #: The names of fields by their numbers, and the functions that convert their values; None for values that stay.
    fields: Mapping[int, tuple[str, Convert | None]]


class MessageConverter:
    """Turns messages of one schema into objects. Integers stay numbers and bytes stay bytes, as in Avro."""

    def __init__(self) -> None:
        self._shapes: dict[str, _Shape] = {}

    def select(self, message: Any) -> Convert:
        """Return the function that converts the messages of a type. Raises `InvalidRecord` for a message with too many fields."""
        if message.full_name in _WRAPPERS:
            return lambda value, _left: value.value
        return self._convert_json_form if message.full_name in _JSON_FORMS else self._convert

    def _convert(self, message: Any, left: list[int]) -> Any:
        name = message.DESCRIPTOR.full_name
        shape = self._shapes.get(name) or self._add_shape(message.DESCRIPTOR)
        content = {**shape.scalars, **{field: make() for field, make in shape.containers.items()}}
        given = message.ListFields()
        left[0] -= 1 + len(content) + len(given)
        if left[0] < 0:
            raise InvalidRecord("it has too many fields")
        for field, value in given:
            # Extensions have no name in the .proto file.
            if (known := shape.fields.get(field.number)) is not None:
                content[known[0]] = value if known[1] is None else known[1](value, left)
        return content

    def _add_shape(self, message: Any) -> _Shape:
        scalars = {
            field.name: field.default_value if field.enum_type is None else _name_enum(field.enum_type, field.default_value)
            for field in message.fields
            if not field.has_presence and not field.is_repeated
        }
        containers = {field.name: dict if is_map(field) else list for field in message.fields if field.is_repeated}
        fields = {field.number: (field.name, self._select_converter(field)) for field in message.fields}
        shape = self._shapes[message.full_name] = _Shape(scalars, containers, fields)
        return shape

    def _select_converter(self, field: Any) -> Convert | None:
        if is_map(field):
            convert = self._select_one(field.message_type.fields_by_name["value"]) or _keep
            return lambda value, left: {
                str(key).lower() if isinstance(key, bool) else str(key): convert(value[key], left) for key in value
            }
        one = self._select_one(field)
        if not field.is_repeated:
            return one
        return (lambda value, _left: list(value)) if one is None else lambda value, left: [one(part, left) for part in value]

    def _select_one(self, field: Any) -> Convert | None:
        enum, message = field.enum_type, field.message_type
        if enum is not None:
            return lambda value, _left: _name_enum(enum, value)
        return None if message is None else self.select(message)

    def _convert_json_form(self, message: Any, left: list[int]) -> Any:
        from google.protobuf.json_format import Error, MessageToDict  # noqa: PLC0415  an optional dependency

        try:
            return MessageToDict(message)
        except (ValueError, Error):
            # A time outside the years 1 to 9999, or a number that JSON lacks: the fields are shown.
            return self._convert(message, left)


def _keep(value: Any, _left: list[int]) -> Any:
    return value


def is_map(field: Any) -> bool:
    """Return whether a field is a map, which Protobuf writes as repeated entries."""
    return bool(field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry)


def _name_enum(enum: Any, number: int) -> str | int | None:
    """Return the name of a number, the number if it has none, and None for the null of JSON."""
    if enum.full_name == f"{GOOGLE}.NullValue":
        return None
    known = enum.values_by_number.get(number)
    return number if known is None else str(known.name)

"""Builds readers of values from Protobuf schemas. Schemas and values are untrusted. Pure."""

from __future__ import annotations

import base64
import binascii
from importlib import import_module
from typing import TYPE_CHECKING, Any

from worker.errors import InvalidRecord, describe_error
from worker.wire.registered.frame import BASE64, MAX_SCHEMA_CHARS, NUM_PREFIX_BYTES, InvalidSchema, read_schema_id
from worker.wire.registered.proto_text import MAX_PROTO_CHARS, compile_proto
from worker.wire.registered.proto_values import GOOGLE, MessageConverter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.wire.registered.frame import RegisteredSchema, ValueReader
    from worker.wire.registered.proto_values import Convert

# The bounds of a schema with its references, and of the levels of an index.
_MAX_NODES, _MAX_NAME_CHARS, _MAX_INDEXES = 20_000, 256, 32
# The bounds of a value: the objects that are built, and the memory of messages that take two bytes each in the value.
_MAX_FIELDS, _MAX_PARSED_BYTES, _NUM_FIELD_BYTES = 250_000, 2**30, 16
_MAX_VARINT_SHIFT, _MORE = 28, 0x80
# The files of google/protobuf/, each after those that it imports.
_WELL_KNOWN = (
    "descriptor",
    "any",
    "source_context",
    "duration",
    "empty",
    "field_mask",
    "struct",
    "timestamp",
    "wrappers",
    "type",
    "api",
)


def build_protobuf_reader(schema: RegisteredSchema) -> ValueReader:
    """Return the function that reads values of a schema. Raises `InvalidSchema`, and `ImportError` without the packages."""
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415  an optional dependency

    file = build_file(schema)
    # The classes of messages by their indexes, each with the bytes of its widest message and its converter.
    classes: dict[tuple[int, ...], tuple[Any, int, Convert]] = {}
    converter = MessageConverter()

    def parse(value: bytes) -> Any:
        indexes, start = _read_indexes(value)
        # Not by their bytes: an index has several encodings, each of which would take memory.
        path = tuple(indexes)
        if path not in classes:
            descriptor = _find_message(file, indexes)
            classes[path] = GetMessageClass(descriptor), _measure_repeated(descriptor), converter.select(descriptor)
        message_class, num_bytes, convert = classes[path]
        if (len(value) - start) // 2 * num_bytes > _MAX_PARSED_BYTES:
            raise InvalidRecord(f"its messages may need more than {_MAX_PARSED_BYTES} bytes of memory")
        return convert(message_class.FromString(value[start:]), [_MAX_FIELDS])

    def read(value: bytes) -> Any:
        try:
            return parse(value)
        except Exception as error:  # noqa: BLE001  any exception of the parser means bytes that do not fit
            raise InvalidRecord(f"the value does not fit the Protobuf schema {read_schema_id(value)}: {_describe(error)}") from None

    return read


def _describe(error: Exception) -> str:
    """Return a reason without content of the value, which may be personal data."""
    reasons = {
        "DecodeError": "its bytes are not this message, or are nested too deeply",
        "RecursionError": "it is nested too deeply",
        "UnicodeDecodeError": "a string is not UTF-8",
    }
    return str(error) if isinstance(error, InvalidRecord) else reasons.get(type(error).__name__, type(error).__name__)


def read_descriptor(text: str) -> Any:
    """Return the `FileDescriptorProto` in base64; None for another text."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415  an optional dependency
    from google.protobuf.message import DecodeError  # noqa: PLC0415  an optional dependency

    if not BASE64.fullmatch(text):
        return None
    try:
        return FileDescriptorProto.FromString(base64.b64decode(text))
    except (DecodeError, binascii.Error):
        return None


def build_file(schema: RegisteredSchema) -> Any:
    """Return the `FileDescriptor` of a schema. Raises `InvalidSchema`, and `ImportError` without the packages.

    Each file may use the types of all files before it, so that the names of imports do not matter.
    """
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415  an optional dependency

    texts = (*schema.references, schema.text)
    if sum(map(len, texts)) > MAX_SCHEMA_CHARS:
        raise InvalidSchema(f"the schema has more than {MAX_SCHEMA_CHARS} characters")
    if sum(len(text) for text in texts if not BASE64.fullmatch(text)) > MAX_PROTO_CHARS:
        raise InvalidSchema(f"its .proto files have more than {MAX_PROTO_CHARS} characters")
    pool, names, num_nodes = DescriptorPool(), [f"google/protobuf/{name}.proto" for name in _WELL_KNOWN], 0
    for name in _WELL_KNOWN:
        pool.AddSerializedFile(import_module(f"{GOOGLE}.{name}_pb2").DESCRIPTOR.serialized_pb)
    for number, text in enumerate(texts):
        file = _read_file(text)
        if file.package == GOOGLE:
            # The package has these files.
            continue
        num_nodes += _count_nodes(file.message_type, file.enum_type)
        if num_nodes > _MAX_NODES:
            raise InvalidSchema(f"the schema has more than {_MAX_NODES} messages, fields and values of enums")
        file.name = f"gist-stream-{number}.proto"
        for field in ("dependency", "public_dependency", "weak_dependency", "option_dependency"):
            if field in file.DESCRIPTOR.fields_by_name:
                file.ClearField(field)
        file.dependency.extend(names)
        names.append(file.name)
        try:
            pool.AddSerializedFile(file.SerializeToString())
        except Exception as error:  # any exception of the pool means a schema that is not Protobuf's
            raise InvalidSchema(f"it is no valid Protobuf schema: {describe_error(error)[:200]}") from error
    return pool.FindFileByName(names[-1])


def _read_file(text: str) -> Any:
    try:
        return read_descriptor(text) or compile_proto(text)
    except (InvalidSchema, ImportError):
        raise
    except Exception as error:  # a number or a name that no descriptor can have
        raise InvalidSchema(f"it is no valid .proto file: {describe_error(error)[:200]}") from error


def _count_nodes(messages: Iterable[Any], enums: Iterable[Any]) -> int:
    """Return the number of messages, fields and values of enums. Raises `InvalidSchema` for a long name."""
    count = 0
    for enum in enums:
        count += 1 + len(enum.value)
        _check_names(enum.value)
    for message in messages:
        count += 1 + len(message.field) + _count_nodes(message.nested_type, message.enum_type)
        _check_names(message.field)
    return count


def _check_names(parts: Iterable[Any]) -> None:
    if any(len(part.name) > _MAX_NAME_CHARS for part in parts):
        raise InvalidSchema(f"a name in it has more than {_MAX_NAME_CHARS} characters")


def _read_indexes(value: bytes) -> tuple[list[int], int]:
    """Return the path of the message in its file, and the place of the data. A count of zero stands for the first message."""
    count, place = _read_varint(value, NUM_PREFIX_BYTES)
    if not 0 <= count <= _MAX_INDEXES:
        raise InvalidRecord(f"the path of its message has {count} indexes")
    indexes = []
    for _ in range(count):
        index, place = _read_varint(value, place)
        indexes.append(index)
    return indexes or [0], place


def _read_varint(value: bytes, place: int) -> tuple[int, int]:
    """Return a zigzag varint of at most 32 bits, and the place after it."""
    number = shift = 0
    while place < len(value) and shift <= _MAX_VARINT_SHIFT:
        number |= (value[place] & ~_MORE) << shift
        if not value[place] & _MORE:
            return number >> 1 ^ -(number & 1), place + 1
        place, shift = place + 1, shift + 7
    raise InvalidRecord("the indexes of its message end too early")


def _find_message(file: Any, indexes: list[int]) -> Any:
    """Return the descriptor of a message."""
    found, messages = None, list_messages(file)
    for index in indexes:
        if not 0 <= index < len(messages):
            raise InvalidRecord(f"the schema has no message at {'.'.join(map(str, indexes))}")
        found = messages[index]
        messages = list_messages(found)
    return found


def list_messages(place: Any) -> list[Any]:
    """Return the messages in a file or in a message, in their order, without the entries of maps."""
    nested = place.nested_types if hasattr(place, "nested_types") else place.message_types_by_name.values()
    return [message for message in nested if not message.GetOptions().map_entry]


def _measure_repeated(root: Any) -> int:
    """Return the bytes of the widest message below a repeated field; 0 without a repeated message."""
    seen, waiting, has_repeated = {root.full_name: root}, [root], False
    while waiting:
        for field in waiting.pop().fields:
            if field.message_type is not None:
                has_repeated |= field.is_repeated
                if field.message_type.full_name not in seen:
                    seen[field.message_type.full_name] = field.message_type
                    waiting.append(field.message_type)
    return has_repeated * _NUM_FIELD_BYTES * max(len(message.fields) for message in seen.values())

"""Compiles the text of a .proto file to its descriptor, without options, services and extensions. Pure."""

from __future__ import annotations

from typing import Any

from worker.wire.registered.frame import InvalidSchema

#: The bound of all texts of a schema, because the parser is slow. A larger schema is read as a serialized descriptor.
MAX_PROTO_CHARS = 262_144
_MAX_DEPTH = 32


def compile_proto(text: str) -> Any:
    """Return the `FileDescriptorProto` of a text. Raises `InvalidSchema`, and `ImportError` without the parser."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415  an optional dependency
    from proto_schema_parser import ast  # noqa: PLC0415  an optional dependency

    tree = _parse(text)
    if tree.edition is not None:
        raise InvalidSchema("it has an edition, which is read as a serialized descriptor only")
    syntax = tree.syntax or "proto2"
    descriptor, compiler = FileDescriptorProto(syntax=syntax), _Compiler(is_proto3=syntax == "proto3")
    for element in tree.file_elements:
        if isinstance(element, ast.Package):
            descriptor.package = element.name
        elif isinstance(element, ast.Message):
            compiler.add_message(descriptor.message_type.add(), element, 0)
        elif isinstance(element, ast.Enum):
            _add_enum(descriptor.enum_type.add(), element)
    return descriptor


def _parse(text: str) -> Any:
    from proto_schema_parser.parser import Parser  # noqa: PLC0415  an optional dependency

    used: list[Any] = []

    def keep(recognizer: Any) -> None:
        # Else errors are printed.
        recognizer.removeErrorListeners()
        used.append(recognizer)

    try:
        tree = Parser(setup_lexer=keep, setup_parser=keep).parse(text)
    except Exception as error:  # any exception of the parser means a text that is not Protobuf's
        raise InvalidSchema(f"it is no valid .proto file: {type(error).__name__}") from error
    if used[-1].getNumberOfSyntaxErrors():
        raise InvalidSchema("it is no valid .proto file: the parser finds errors of its syntax")
    return tree


class _Compiler:
    """Adds the elements of one file to descriptors. The pool resolves the names of types."""

    def __init__(self, *, is_proto3: bool) -> None:
        from google.protobuf.descriptor_pb2 import FieldDescriptorProto  # noqa: PLC0415  an optional dependency

        self._is_proto3 = is_proto3
        self._kinds, self._labels = FieldDescriptorProto.Type, FieldDescriptorProto.Label

    def add_message(self, message: Any, element: Any, depth: int) -> None:
        """Fill the descriptor of a message. Raises `InvalidSchema`."""
        from proto_schema_parser import ast  # noqa: PLC0415  an optional dependency

        if depth > _MAX_DEPTH:
            raise InvalidSchema(f"its messages are nested in more than {_MAX_DEPTH} levels")
        message.name = element.name
        for part in element.elements:
            if isinstance(part, ast.Message):
                self.add_message(message.nested_type.add(), part, depth + 1)
            elif isinstance(part, ast.Enum):
                _add_enum(message.enum_type.add(), part)
            elif isinstance(part, ast.OneOf):
                message.oneof_decl.add(name=part.name)
                for member in part.elements:
                    self._add_field(message, member, oneof_index=len(message.oneof_decl) - 1)
            else:
                self._add_field(message, part)
        # The pool wants the oneofs of optional fields after those of the file.
        for field in message.field:
            if field.proto3_optional:
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")

    def _add_field(self, message: Any, element: Any, **place: int) -> None:
        from proto_schema_parser import ast  # noqa: PLC0415  an optional dependency

        if isinstance(element, ast.Group):
            raise InvalidSchema("it has a group, which is read in a serialized descriptor only")
        if isinstance(element, ast.MapField):
            entry = message.nested_type.add(name=f"{element.name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            self._fill_field(entry.field.add(name="key", number=1), element.key_type)
            self._fill_field(entry.field.add(name="value", number=2), element.value_type)
            field = message.field.add(name=element.name, number=element.number, label=self._labels.Value("LABEL_REPEATED"))
            field.type_name = entry.name
        elif isinstance(element, ast.Field):
            label = element.cardinality.value if element.cardinality else "OPTIONAL"
            field = message.field.add(name=element.name, number=element.number, **place)
            field.proto3_optional = self._is_proto3 and element.cardinality is ast.FieldCardinality.OPTIONAL
            self._fill_field(field, element.type, label)

    def _fill_field(self, field: Any, kind: str, label: str = "OPTIONAL") -> None:
        field.label = self._labels.Value(f"LABEL_{label}")
        name = f"TYPE_{kind.upper()}"
        if kind.islower() and name in self._kinds.keys() and kind not in {"group", "message", "enum"}:  # noqa: SIM118  no mapping
            field.type = self._kinds.Value(name)
        else:
            field.type_name = kind


def _add_enum(enum: Any, element: Any) -> None:
    from proto_schema_parser import ast  # noqa: PLC0415  an optional dependency

    enum.name = element.name
    for part in element.elements:
        if isinstance(part, ast.EnumValue):
            enum.value.add(name=part.name, number=part.number)
        elif isinstance(part, ast.Option) and part.name == "allow_alias":
            enum.options.allow_alias = part.value is True

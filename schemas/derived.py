"""Derives Avro schemas, schemas of Kafka Connect and JSON Schemas for a registry from the models of the wire contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

#: The namespace of the records of version 1.
NAMESPACE = "gist_stream.v1"
_CONNECT_TYPES = {"string": "string", "integer": "int64", "number": "double", "boolean": "boolean"}
# The keys of a map of Kafka Connect.
_KEYS = {"type": "string", "optional": False}
_AVRO_TYPES = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}


def name_record(model: type[BaseModel]) -> str:
    """Return the whole name of the record of a model."""
    return f"{NAMESPACE}.{model.__name__}"


def build_avro_schema(model: type[BaseModel], *, has_numbers: bool) -> dict[str, Any]:
    """Return the Avro schema of a model. A vector is an array of `float` with `has_numbers`, else a string of base64."""
    schema = model.model_json_schema()
    return _AvroSchemas(schema.get("$defs", {}), has_numbers=has_numbers).build_record(model.__name__, schema)


def build_connect_schema(model: type[BaseModel], *, has_numbers: bool) -> dict[str, Any]:
    """Return the schema of a model in the JSON of Kafka Connect. A vector is an array of `double` or a string of base64."""
    schema = model.model_json_schema()
    defined = schema.get("$defs", {})
    return {**_build_struct(schema, defined, has_numbers=has_numbers), "optional": False, "name": name_record(model)}


def build_registry_json_schema(model: type[BaseModel], *, result_field: str) -> dict[str, Any]:
    """Return the JSON Schema of a model for a registry, in draft 7, which every registry reads.

    `result_field` replaces the name of the results in the layout `enriched`.
    """
    schema = model.model_json_schema()
    properties = schema["properties"]
    if model.model_config.get("extra") == "allow" and "gist" in properties:
        schema |= {"properties": {result_field: properties["gist"]}, "required": [result_field]}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "title": name_record(model)}


def _find_type(schema: Mapping[str, Any], *, has_numbers: bool) -> tuple[Mapping[str, Any], bool]:
    """Return the type of a field without its alternatives, and whether the field may be null."""
    options = schema.get("anyOf", [schema])
    kinds = [option for option in options if option.get("type") != "null"]
    # A vector is an array or a string of base64, the same in all values of a worker.
    chosen = kinds[0] if len(kinds) == 1 or has_numbers else kinds[-1]
    return chosen, len(kinds) < len(options)


class _AvroSchemas:
    """Builds the Avro schema of one model. Avro defines a named type where it is used first."""

    def __init__(self, defined: Mapping[str, Any], *, has_numbers: bool) -> None:
        self._defined = defined
        self._has_numbers = has_numbers
        self._built: set[str] = set()

    def build_record(self, name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of an object."""
        self._built.add(name)
        fields, required = [], schema.get("required", ())
        for field, described in schema["properties"].items():
            kind, is_nullable = _find_type(described, has_numbers=self._has_numbers)
            built = {"name": field, "type": self._build(kind), "doc": described.get("description", "")}
            if is_nullable or field not in required:
                built |= {"type": ["null", built["type"]], "default": None}
            fields.append(built)
        named = {"type": "record", "name": name, "namespace": NAMESPACE}
        return {**named, "doc": schema.get("description", ""), "fields": fields}

    def _build(self, schema: Mapping[str, Any]) -> Any:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f"{NAMESPACE}.{name}" if name in self._built else self.build_record(name, self._defined[name])
        kind = schema["type"]
        if kind == "array":
            items = schema["items"]
            # The numbers of a vector are those of float32.
            return {"type": "array", "items": "float" if items.get("type") == "number" else self._build(items)}
        if kind == "object":
            return {"type": "map", "values": self._build(schema["additionalProperties"])}
        return _AVRO_TYPES[kind]


def _build_struct(schema: Mapping[str, Any], defined: Mapping[str, Any], *, has_numbers: bool) -> dict[str, Any]:
    fields, required = [], schema.get("required", ())
    for field, described in schema["properties"].items():
        kind, is_nullable = _find_type(described, has_numbers=has_numbers)
        built = _build_connect_type(kind, defined, has_numbers=has_numbers)
        fields.append({"field": field, **built, "optional": is_nullable or field not in required})
    return {"type": "struct", "fields": fields}


def _build_connect_type(schema: Mapping[str, Any], defined: Mapping[str, Any], *, has_numbers: bool) -> dict[str, Any]:
    if "$ref" in schema:
        return _build_struct(defined[schema["$ref"].rpartition("/")[2]], defined, has_numbers=has_numbers)
    kind = schema["type"]
    if kind in _CONNECT_TYPES:
        return {"type": _CONNECT_TYPES[kind]}
    inner = schema["items"] if kind == "array" else schema["additionalProperties"]
    values = {**_build_connect_type(inner, defined, has_numbers=has_numbers), "optional": False}
    return {"type": "array", "items": values} if kind == "array" else {"type": "map", "keys": _KEYS, "values": values}

"""Describes values that a setting refuses, and the values that it allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_NUMBERS = {int: "a whole number", float: "a number"}
# The value of such a setting may be a password that was assigned to the wrong variable.
_LOGIN = ("sasl_", "ssl_", "schema_registry_", "allow_plaintext_password")
_MAX_CHARS = 40


def format_values(field: FieldInfo) -> str:
    """Return the allowed values of a setting in words; empty if its type has no bounds."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(field.annotation))
    if field.annotation is bool:
        return "`true`, `false`"
    lowest = next((bound.ge for bound in field.metadata if hasattr(bound, "ge")), None)
    highest = next((bound.le for bound in field.metadata if hasattr(bound, "le")), None)
    if lowest is None:
        return ""
    return f"{lowest:,} or more" if highest is None else f"{lowest:,} to {highest:,}"


def describe_invalid(problem: ErrorDetails, name: str, fields: Mapping[str, FieldInfo]) -> str:
    """Return the reason why the setting `name` refuses a value: the value, and the values to set instead.

    Only a choice or a number is shown, never a value of the login: it could be a secret.
    """
    kind = problem["type"]
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if kind == "string_too_short":
        return "the value is empty"
    if kind == "string_too_long":
        return f"the value has more than {problem['ctx']['max_length']:,} characters"
    annotation = fields[name].annotation if name in fields else None
    if kind == "literal_error":
        allowed = problem["ctx"]["expected"]
    elif annotation is bool:
        allowed = "'true' or 'false'"
    elif annotation in _NUMBERS:
        allowed = f"{_NUMBERS[annotation]}, {format_values(fields[name])}"
    else:
        return problem["msg"]
    given = str(problem["input"])
    shown = "the value" if name.startswith(_LOGIN) else repr(given if len(given) <= _MAX_CHARS else f"{given[:_MAX_CHARS]}…")
    return f"{shown} is not allowed: set {allowed}"

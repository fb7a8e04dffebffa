"""The failures of requests, with their status and their body in the form of OpenAI or of Text Embeddings Inference (TEI)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from worker.errors import GistStreamError


@dataclass(frozen=True, slots=True)
class _Kind:
    """The status and the names of one kind of failure in both forms."""

    status: int
    #: OpenAI's `type` and `code`.
    type: str
    code: str
    tei_status: int
    #: TEI's `error_type`.
    tei_type: str


class Kind(Enum):
    """The kinds of failures."""

    INVALID = _Kind(400, "invalid_request_error", "invalid_value", 422, "Validation")
    EMPTY = _Kind(400, "invalid_request_error", "empty_input", 400, "Empty")
    TOO_LARGE = _Kind(413, "invalid_request_error", "too_large", 413, "Validation")
    SLOW_BODY = _Kind(408, "invalid_request_error", "body_timeout", 408, "Validation")
    UNAUTHORIZED = _Kind(401, "authentication_error", "invalid_api_key", 401, "Unauthorized")
    UNKNOWN_MODEL = _Kind(404, "invalid_request_error", "model_not_found", 404, "Validation")
    UNKNOWN_ROUTE = _Kind(404, "invalid_request_error", "unknown_url", 404, "Validation")
    WRONG_METHOD = _Kind(405, "invalid_request_error", "method_not_allowed", 405, "Validation")
    UNKNOWN_ENCODING = _Kind(415, "invalid_request_error", "unsupported_encoding", 415, "Validation")
    UNKNOWN_EXPECTATION = _Kind(417, "invalid_request_error", "unsupported_expectation", 417, "Validation")
    OVERLOADED = _Kind(429, "rate_limit_error", "overloaded", 429, "Overloaded")
    MODEL_FAILED = _Kind(500, "server_error", "model_failed", 424, "Backend")
    BUG = _Kind(500, "server_error", "internal_error", 500, "Backend")
    UNAVAILABLE = _Kind(503, "server_error", "unavailable", 503, "Unhealthy")
    TIMEOUT = _Kind(504, "server_error", "timeout", 504, "Overloaded")


#: The kinds after which the same request may succeed.
RETRIABLE = frozenset({Kind.OVERLOADED, Kind.UNAVAILABLE, Kind.TIMEOUT})


class RequestFailed(GistStreamError):
    """A request gets an error. The message is one line, and contains no text of the request."""

    def __init__(self, kind: Kind, message: str, *, field: str | None = None) -> None:
        """Set the kind and the reason; `field` is the part of the body that is wrong."""
        super().__init__(message)
        self.kind = kind
        self.field = field


def build_openai_body(failure: RequestFailed) -> dict[str, Any]:
    """Return the body of an error in OpenAI's form."""
    kind = failure.kind.value
    return {"error": {"message": str(failure), "type": kind.type, "param": failure.field, "code": kind.code}}


def build_tei_body(failure: RequestFailed) -> dict[str, Any]:
    """Return the body of an error in TEI's form."""
    return {"error": str(failure), "error_type": failure.kind.value.tei_type}

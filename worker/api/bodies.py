"""Reads the bodies of requests and writes those of answers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from worker.api.failures import Kind, RequestFailed
from worker.errors import reword_validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.records import Headers

Body = TypeVar("Body", bound=BaseModel)
#: The header with the model that answered.
MODEL_HEADER = "gist-model"
#: The headers of the trace of the request, as a record has them.
TRACE: ContextVar[Headers] = ContextVar("trace", default=())
# The fields with the texts.
_TEXTS = {"input", "inputs"}
# The longest name of a field in a message; the client chooses the names of unknown fields.
_MAX_PLACE_CHARS = 80
# The encodings of bodies that aiohttp reads, or refuses itself where their package is missing.
_ENCODINGS = {"identity", "gzip", "deflate", "br", "zstd"}
# More fields than any route or client knows. Each unknown field costs an error of the validation.
_MAX_FIELDS = 64


def check_headers(request: web.BaseRequest) -> None:
    """Raise `RequestFailed` for an encoding of the body or an expectation that the endpoint does not know."""
    encoding, expectation = request.headers.get("Content-Encoding", ""), request.headers.get("Expect", "")
    if encoding and encoding.lower() not in _ENCODINGS:
        raise RequestFailed(Kind.UNKNOWN_ENCODING, "this Content-Encoding is not supported: send gzip, deflate or none")
    if expectation and expectation.lower() != "100-continue":
        raise RequestFailed(Kind.UNKNOWN_EXPECTATION, "the header Expect may only be 100-continue: leave the header out")


async def read_body(request: web.BaseRequest, model: type[Body]) -> Body:
    """Return the body of a request. Raises `RequestFailed` with the place and the reason."""
    body = request.content
    # A body that has arrived whole needs no buffer.
    is_whole = body.is_eof() and body.total_bytes <= request.client_max_size
    content = body.read_nowait() if is_whole else await request.read()
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RequestFailed(Kind.INVALID, f"the body is not JSON: {error.msg} at byte {error.pos}") from None
    if not isinstance(value, dict):
        raise RequestFailed(Kind.INVALID, "the body must be a JSON object")
    if len(value) > _MAX_FIELDS:
        raise RequestFailed(Kind.INVALID, f"the body has {len(value)} fields; at most {_MAX_FIELDS} are accepted")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _describe(error) from None


def _describe(error: ValidationError) -> RequestFailed:
    """Return the failure of the first invalid field. Its message never contains a value, which could be a text."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = str(problem["loc"][0])
    if field in _TEXTS:
        advice = "lists of token numbers are refused, because another tokenizer may have made them"
        return RequestFailed(Kind.INVALID, f"`{field}` must be a text or a list of texts; {advice}", field=field)
    reason = reword_validation(problem["msg"], noun="field")
    place = ".".join(str(part) for part in problem["loc"] if not isinstance(part, str) or part.isidentifier())
    return RequestFailed(Kind.INVALID, f"`{(place or field)[:_MAX_PLACE_CHARS]}`: {reason}", field=field[:_MAX_PLACE_CHARS])


def write_json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer with the JSON of a value, which may contain arrays of numpy and fragments of JSON."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)

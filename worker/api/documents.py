"""The documents of the endpoint: `/openapi.json`, generated from `schemas`, and the page that shows it in a browser."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

import worker
from schemas import api
from worker.api.failures import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

_FOLDER = Path(__file__).parent / "pages"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_REF = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class _Route:
    """What the document says about a route."""

    method: str
    path: str
    summary: str
    error: type[BaseModel]
    body: type[BaseModel] | None = None
    #: The schema of an answer with status 200, or its model.
    answer: type[BaseModel] | None = None
    schema: Mapping[str, Any] | None = None
    example: Mapping[str, Any] | None = None


_VECTORS = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
_LABELS = {"type": "array", "items": {"$ref": _REF.format(model="ScoredLabel")}}
_TEXT = "Ada Lovelace loved London."
_ROUTES = (
    _Route(
        "post",
        "/v1/embeddings",
        "Return the vectors of texts, for OpenAI's clients.",
        api.OpenAiError,
        api.EmbeddingsRequest,
        api.EmbeddingsAnswer,
        example={"input": [_TEXT]},
    ),
    _Route(
        "post",
        "/v1/infer",
        "Return the values that the output topics would hold.",
        api.OpenAiError,
        api.InferRequest,
        api.InferAnswer,
        example={"texts": [_TEXT]},
    ),
    _Route(
        "post",
        "/embed",
        "Return the vectors of texts, for clients of Text Embeddings Inference.",
        api.TeiError,
        api.EmbedRequest,
        schema=_VECTORS,
        example={"inputs": _TEXT},
    ),
    _Route(
        "post",
        "/predict",
        "Return the labels of texts, for clients of Text Embeddings Inference.",
        api.TeiError,
        api.PredictRequest,
        schema={"anyOf": [_LABELS, {"type": "array", "items": _LABELS}]},
        example={"inputs": _TEXT},
    ),
    _Route(
        "post",
        "/",
        "Answer as /embed, or as /predict if the worker serves no vectors.",
        api.TeiError,
        api.EmbedRequest,
        schema=_VECTORS,
        example={"inputs": _TEXT},
    ),
    _Route("get", "/v1/models", "List the loaded models.", api.OpenAiError, answer=api.ModelsAnswer),
)
_MODELS: tuple[type[BaseModel], ...] = (
    *(model for route in _ROUTES for model in (route.body, route.answer, route.error) if model is not None),
    api.ScoredLabel,
)


@cache
def build_openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the routes."""
    _, schemas = models_json_schema([(model, "validation") for model in dict.fromkeys(_MODELS)], ref_template=_REF)
    paths: dict[str, Any] = {}
    for route in _ROUTES:
        paths.setdefault(route.path, {})[route.method] = _build_operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "GIST Stream",
            "version": worker.__version__,
            "description": "Computes texts with the model of the stream. The header `gist-model` of an answer names the model.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Needed with GIST_API_TOKENS_FILE."}},
        },
        "security": [{}, {"token": []}],
    }


def _build_operation(route: _Route) -> dict[str, Any]:
    answer = route.schema or {"$ref": _REF.format(model=route.answer.__name__ if route.answer else "")}
    statuses = {kind.value.tei_status if route.error is api.TeiError else kind.value.status for kind in Kind}
    error = {"description": "The request failed.", "content": _build_content({"$ref": _REF.format(model=route.error.__name__)})}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": route.path.strip("/").replace("/", "_") or "root",
        "responses": {"200": {"description": "The answer.", "content": _build_content(answer)}}
        | {str(status): error for status in sorted(statuses)},
    }
    if route.body is not None:
        content = _build_content({"$ref": _REF.format(model=route.body.__name__)})
        content["application/json"]["example"] = route.example
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _build_content(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


@cache
def read_page(path: str) -> tuple[bytes, str]:
    """Return the content and the type of `/docs` or of one of its files."""
    file = _FOLDER / (path.strip("/") if "." in path else f"{path.strip('/')}.html")
    return file.read_bytes(), _TYPES[file.suffix]

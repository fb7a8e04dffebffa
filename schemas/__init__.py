"""The wire contract; the current version, re-exported."""

from schemas.v1 import HEADERS, MODELS, SOURCE_HEADERS, DeadLetter, Embedding, Entities, Entity, Label, Labels, Request

VERSION = 1

__all__ = [
    "HEADERS",
    "MODELS",
    "SOURCE_HEADERS",
    "VERSION",
    "DeadLetter",
    "Embedding",
    "Entities",
    "Entity",
    "Label",
    "Labels",
    "Request",
]

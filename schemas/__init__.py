"""The wire contract; the current version, re-exported."""

from schemas.v1 import (
    HEADERS,
    MODELS,
    SOURCE_HEADERS,
    DeadLetter,
    Embedding,
    Enriched,
    Entities,
    Entity,
    Flat,
    Label,
    Labels,
    QdrantPoint,
    Request,
    Results,
    Source,
)

VERSION = 1

__all__ = [
    "HEADERS",
    "MODELS",
    "SOURCE_HEADERS",
    "VERSION",
    "DeadLetter",
    "Embedding",
    "Enriched",
    "Entities",
    "Entity",
    "Flat",
    "Label",
    "Labels",
    "QdrantPoint",
    "Request",
    "Results",
    "Source",
]

"""The wire contract; the current version, re-exported."""

from schemas.v1 import MODELS, DeadLetter, Embedding, Entities, Entity, Label, Labels, Request

VERSION = 1

__all__ = ["MODELS", "VERSION", "DeadLetter", "Embedding", "Entities", "Entity", "Label", "Labels", "Request"]

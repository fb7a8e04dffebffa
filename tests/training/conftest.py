"""Fixtures of the model tests that the training tests need, too."""

from tests.model.conftest import minilm

__all__ = ["minilm"]

"""The settings: each is declared once, with its limits and its help."""

from worker.settings.connection import PREFIX
from worker.settings.model import DEFAULT_MODEL
from worker.settings.settings import Settings, read

__all__ = ["DEFAULT_MODEL", "PREFIX", "Settings", "read"]

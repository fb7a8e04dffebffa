"""The settings: each declared once, with its bounds and its help."""

from worker.settings.connection import PREFIX
from worker.settings.settings import DEFAULT_MODEL, Settings, read

__all__ = ["DEFAULT_MODEL", "PREFIX", "Settings", "read"]

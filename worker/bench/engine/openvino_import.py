"""Import OpenVINO without its reports to the vendor.

OpenVINO sends an event to an analytics service of its vendor each time that it is imported or converts a model. The worker opens no
connection but those to its brokers, endpoints and probes.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

# The package that sends. It is a package of its own, and OpenVINO works without it.
_SENDER = "openvino_telemetry"


def import_openvino() -> Any:
    """Import OpenVINO with its telemetry switched off; raises `ModuleNotFoundError` where it is not installed."""
    # With None in the place of a module its import fails, and OpenVINO takes its own stand-in, which sends nothing.
    sys.modules[_SENDER] = None  # type: ignore[assignment]  # Python's own way to forbid an import
    return importlib.import_module("openvino")

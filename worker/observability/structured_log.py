"""structlog without rich, whose import takes a twentieth of a worker's start."""

import sys

_HIDES_RICH = "rich" not in sys.modules
if _HIDES_RICH:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402  structlog looks for rich once, when it is imported

if _HIDES_RICH:
    del sys.modules["rich"]

__all__ = ["structlog"]

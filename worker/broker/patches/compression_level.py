"""How hard zstd tries: Kafka's client has a setting for whether to compress, and none for this."""

from __future__ import annotations

import sys
from functools import partial

from aiokafka.codec import zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder

# Vectors as JSON numbers hold no long repetitions: the usual level, 3, looks for them at twice the cost, and packs less densely.
_ZSTD_LEVEL = 1


def patch_compression_level() -> None:
    """Let every client of this process compress at the level that suits our messages; a second time has no effect."""
    # The module that builds batches: of the client's two, the one in use.
    builders = sys.modules[DefaultRecordBatchBuilder.__module__]
    builders.zstd_encode = partial(zstd_encode, level=_ZSTD_LEVEL)  # type: ignore[attr-defined]  # there is no other way

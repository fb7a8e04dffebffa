"""Patch: compress with zstd at level 1.

aiokafka: compresses with zstd at level 3 and has no setting for the level.
Why it matters: vectors as JSON numbers have no long repetitions. Level 3 searches for them at twice the cost, and its
output is larger.
Reference: KIP-390 (`compression.level` of the Java client).
Needed until: `tests/broker/patches/test_compression_level.py::test_aiokafka_has_no_setting_for_the_level` fails.
"""

from __future__ import annotations

import sys
from functools import partial

from aiokafka.codec import zstd_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder

_ZSTD_LEVEL = 1


def patch_compression_level() -> None:
    """Set the zstd level of all producers of this process."""
    # aiokafka has two modules that build batches, one of them compiled. The class names the module in use.
    builders = sys.modules[DefaultRecordBatchBuilder.__module__]
    builders.zstd_encode = partial(zstd_encode, level=_ZSTD_LEVEL)  # type: ignore[attr-defined]  # modules have no such attribute for mypy

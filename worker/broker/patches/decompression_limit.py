"""Batches of records decompressed within a bound: a few kilobytes can claim half a gigabyte, and Kafka's client would believe them.

A batch over the bound raises as one that cannot be read does, and shares its fate: a dead letter that names the range. Snappy needs
no bound, because its format cannot shrink anything more than about twentyfold.
"""

from __future__ import annotations

import gzip
import importlib
import io
from functools import partial
from typing import TYPE_CHECKING, Any

import cramjam
import numpy as np
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable

# Brokers take batches of 1 MB by default: one that shrank so much more than texts do was made to do harm.
MAX_BATCH_BYTES = 67_108_864


class BatchTooLarge(Exception):
    """A batch of records would have more bytes than we hold for one."""


def patch_decompression_limit() -> None:
    """Let Kafka's client decompress within the bound, in this whole process; a second time has no effect."""
    decoders = {
        "gzip_decode": _gunzip,
        "lz4_decode": partial(_decompress, cramjam.lz4.decompress_into),
        "zstd_decode": partial(_decompress, cramjam.zstd.decompress_into),
    }
    for batch in (DefaultRecordBatch, LegacyRecordBatch):
        # Compiled or not, the module that reads batches looks its decoders up by these names.
        module = importlib.import_module(batch.__module__)
        for name, decoder in decoders.items():
            if hasattr(module, name):
                setattr(module, name, decoder)


def _decompress(into: Callable[[Any, Any], int], payload: bytes | memoryview) -> bytes:
    # Memory that nobody writes to costs nothing.
    room = np.empty(MAX_BATCH_BYTES, dtype=np.uint8)
    try:
        num_bytes = into(bytes(payload), room)
    except cramjam.DecompressionError as error:
        raise BatchTooLarge(f"the batch is damaged, or has over {MAX_BATCH_BYTES} bytes: {error}") from error
    return room[:num_bytes].tobytes()


def _gunzip(payload: bytes | memoryview) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        content = file.read(MAX_BATCH_BYTES + 1)
    if len(content) > MAX_BATCH_BYTES:
        raise BatchTooLarge(f"the batch has over {MAX_BATCH_BYTES} bytes")
    return content

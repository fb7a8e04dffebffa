"""Patch: refuse a batch that decompresses to more than 64 MiB.

aiokafka: decompresses a batch of any size. A batch of 16 KB can claim 512 MiB and block the event loop for seconds.
Why it matters: any producer of the input topic could exhaust the worker's memory. With the patch the batch is unreadable, and its
offsets become one dead letter. Snappy needs no limit, because its format compresses by a factor of about 20 at most.
Reference: CWE-409 (decompression bomb).
Needed until: `tests/broker/patches/test_decompression_limit.py::test_aiokafka_decompresses_a_batch_of_any_size` fails.
"""

from __future__ import annotations

import contextlib
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

# Brokers accept batches of 1 MB by default. Text does not compress by a factor of 64.
MAX_BATCH_BYTES = 67_108_864
# The first buffer for a batch: this factor of its compressed size, but at least this number of bytes. To map the largest buffer
# into memory for each batch would cost more time than to decompress a small batch.
_USUAL_FACTOR, _USUAL_BYTES = 8, 65_536


class BatchTooLarge(Exception):
    """A batch has more than `MAX_BATCH_BYTES` after decompression."""


def patch_decompression_limit() -> None:
    """Limit decompression in all consumers of this process."""
    decoders = {
        "gzip_decode": _gunzip,
        "lz4_decode": partial(_decompress, cramjam.lz4.decompress_into),
        "zstd_decode": partial(_decompress, cramjam.zstd.decompress_into),
    }
    for batch in (DefaultRecordBatch, LegacyRecordBatch):
        # The module that reads batches, compiled or not, looks its decoders up by these names.
        module = importlib.import_module(batch.__module__)
        for name, decoder in decoders.items():
            if hasattr(module, name):
                setattr(module, name, decoder)


def _decompress(decompress_into: Callable[[Any, Any], int], payload: bytes | memoryview) -> bytes:
    compressed = bytes(payload)
    usual_bytes = max(_USUAL_FACTOR * len(compressed), _USUAL_BYTES)
    if usual_bytes < MAX_BATCH_BYTES:
        with contextlib.suppress(cramjam.DecompressionError):
            return _decompress_up_to(usual_bytes, decompress_into, compressed)
    try:
        return _decompress_up_to(MAX_BATCH_BYTES, decompress_into, compressed)
    except cramjam.DecompressionError as error:
        raise BatchTooLarge(f"the batch is damaged or has more than {MAX_BATCH_BYTES} bytes: {error}") from error


def _decompress_up_to(max_bytes: int, decompress_into: Callable[[Any, Any], int], compressed: bytes) -> bytes:
    buffer = np.empty(max_bytes, dtype=np.uint8)
    return buffer[: decompress_into(compressed, buffer)].tobytes()


def _gunzip(payload: bytes | memoryview) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        content = file.read(MAX_BATCH_BYTES + 1)
    if len(content) > MAX_BATCH_BYTES:
        raise BatchTooLarge(f"the batch has more than {MAX_BATCH_BYTES} bytes")
    return content

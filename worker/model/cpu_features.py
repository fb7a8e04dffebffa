"""What the processor can multiply: without it some number formats are slow beyond use, or inexact."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

# By the names that Linux gives them. `avx512_bf16` is left out: without AMX, float32 is 1.6 times as fast, and more exact.
_FAST_BF16 = frozenset({"amx_bf16"})
_BYTES = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})


@cache
def flags() -> frozenset[str]:
    """Return what Linux says that the processor can do; nothing where it says nothing."""
    info = Path("/proc/cpuinfo")
    return frozenset(info.read_text().split()) if info.exists() else frozenset()


def multiplies_bf16_faster() -> bool:
    """Tell whether the processor multiplies bfloat16 faster than float32: only on tile registers (AMX)."""
    return bool(flags() & _FAST_BF16)


def has_bf16_products() -> bool:
    """Tell whether oneDNN has products in bfloat16 for it, be it by way of other instructions."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  there is no public way


def multiplies_bytes() -> bool:
    """Tell whether it adds up products of bytes without saturating on the way: else 8-bit products are not what they seem."""
    return bool(flags() & _BYTES)

"""What the processor can multiply: without it some number formats are slow beyond use, or inexact."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

# By the names that Linux gives them.
_BF16 = frozenset({"amx_bf16", "avx512_bf16"})
_BYTES = frozenset({"amx_int8", "avx512_vnni", "avx_vnni"})


@cache
def flags() -> frozenset[str]:
    """Return what Linux says that the processor can do; nothing where it says nothing."""
    info = Path("/proc/cpuinfo")
    return frozenset(info.read_text().split()) if info.exists() else frozenset()


def multiplies_bf16() -> bool:
    """Tell whether it multiplies bfloat16 itself."""
    return bool(flags() & _BF16)


def has_bf16_products() -> bool:
    """Tell whether oneDNN has products in bfloat16 for it, be it by way of other instructions."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  there is no public way


def multiplies_bytes() -> bool:
    """Tell whether it adds up products of bytes without saturating on the way: else 8-bit products are not what they seem."""
    return bool(flags() & _BYTES)

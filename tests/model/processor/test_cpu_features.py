"""The number format follows what the processor multiplies fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from worker.model.encoder.number_format import number_format
from worker.model.processor import cpu_features as processor

if TYPE_CHECKING:
    from worker.model.processor.devices import Dtype

CPU = torch.device("cpu")
GENOA = "avx2 avx512f avx512_vnni avx512_bf16"
SAPPHIRE_RAPIDS = f"{GENOA} amx_tile amx_int8 amx_bf16"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (SAPPHIRE_RAPIDS, torch.bfloat16),
        (GENOA, torch.float32),
        ("avx2 avx512f avx512_bf16", torch.float32),
        ("avx2 avx512f", torch.float32),
        ("asimd bf16 i8mm", torch.float32),
        ("", torch.float32),
    ],
)
def test_auto_is_bfloat16_with_amx_only(flags: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with AVX-512 BF16 but no AMX computes in float32, which is faster there."""
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags.split()))
    assert number_format("auto", CPU) == expected


@pytest.mark.parametrize("flags", [SAPPHIRE_RAPIDS, GENOA, ""])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_format_that_is_set_is_used_on_every_processor(flags: str, dtype: Dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flags decide for `auto` alone."""
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags.split()))
    assert number_format(dtype, CPU) == getattr(torch, dtype)

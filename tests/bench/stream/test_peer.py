"""The peer of the stream benchmark is tuned as the worker is."""

from __future__ import annotations

import pytest
import torch

from worker.model import cpu_features

peer = pytest.importorskip("worker.bench.stream.peer", reason="the extra bench is not installed")


@pytest.mark.parametrize(
    ("flags", "expected"), [("amx_bf16", torch.bfloat16), ("avx512f avx512_bf16", torch.float32), ("", torch.float32)]
)
def test_the_peer_is_bfloat16_with_amx_only(flags: str, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer in a slow number format would flatter the worker."""
    monkeypatch.setattr(cpu_features, "flags", lambda: frozenset(flags.split()))
    assert peer.choose_dtype("cpu") == expected

"""What a pass goes into: shares of the whole, and the methods as they were afterwards."""

from __future__ import annotations

import pytest

from worker.bench.engine import profile
from worker.errors import BadModel
from worker.model import backends, checkpoint
from worker.model.compiled import Linear
from worker.model.native.build import Unavailable
from worker.settings import DEFAULT_MODEL

pytestmark = pytest.mark.model
TEXTS = ["Ada Lovelace moved to London.", "Awful. I hated every minute.", "ok"] * 8


def test_shares_are_of_the_whole() -> None:
    """Products are most of it, and nothing is less than nothing."""
    loaded, before = checkpoint.load(DEFAULT_MODEL), Linear.__call__
    packs = profile.batches(loaded.tokenizer.encode(TEXTS), max_tokens=64)
    found = profile.measure(loaded, packs, threads=2)
    assert next(iter(found)).startswith("compiled, ")
    for shares in found.values():
        assert set(shares) <= set(profile.STAGES)
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share > -0.01 for share in shares.values())
        assert all(shares[it] > 0 for it in ("products", "attention", "norms", "heads"))
    assert Linear.__call__ is before


def test_passes_hold_what_fits_and_a_few_texts_are_one() -> None:
    """In order."""
    tokens = checkpoint.load(DEFAULT_MODEL).tokenizer.encode(TEXTS)
    packs = profile.batches(tokens, max_tokens=64)
    assert all(len(it.ids) <= 64 for it in packs)
    assert packs[0].ids[: len(tokens[0])].tolist() == tokens[0].ids.tolist()
    (alone,) = profile.batches(tokens[:2], max_tokens=1000)
    assert len(alone.lengths) == 2


def test_a_machine_without_a_compiled_way_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what there is instead."""

    def refuse(*_given: object, **_options: object) -> None:
        raise Unavailable("no compiler")

    monkeypatch.setattr(backends, "_backend", refuse)
    loaded = checkpoint.load(DEFAULT_MODEL)
    with pytest.raises(BadModel, match="here is eager"):
        profile.measure(loaded, profile.batches(loaded.tokenizer.encode(TEXTS), max_tokens=64), threads=2)

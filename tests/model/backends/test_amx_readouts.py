"""Readings as the kernels take them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worker.model.backends.amx_readouts import AmxReadouts
from worker.model.backends.native.build import library
from worker.model.heads import Head, HeadConfig
from worker.model.packing import pack
from worker.model.readout import Readout

pytestmark = pytest.mark.skipif(not library().gist_has_tiles(), reason="needs a processor with tile registers (AMX)")
PACKED = pack([np.arange(it, dtype=np.int32) for it in (2, 5)])


def head(hidden_size: int) -> Head:
    """Return a head of entities with random weights."""
    labels = tuple(map(str, range(17)))
    return Head(HeadConfig(name="any", task="ner", labels=labels, layers=(1, 3), hidden_size=hidden_size), 64)


def test_there_is_room_for_what_is_read() -> None:
    """States as they are, texts and logits in fp32, as many rows as there are tokens or texts."""
    readings = [Readout(((2, 1.0),), None), Readout(((2, 1.0),), "mean"), Readout(((1, 0.5), (3, 0.5)), None, head(0))]
    asked = AmxReadouts(readings, 64, library())
    structs, found = asked.room(PACKED)
    assert [(it.shape, it.dtype) for it in found] == [
        ((7, 64), torch.bfloat16),
        ((2, 64), torch.float32),
        ((7, 17), torch.float32),
    ]
    assert [it.out for it in structs] == [it.data_ptr() for it in found]
    assert [(it.first, it.last, it.pooling, bool(it.head)) for it in structs] == [
        (2, 2, 0, False),
        (2, 2, 1, False),
        (1, 3, 0, True),
    ]
    assert asked.num_layers == 3


def test_passes_beside_each_other_are_read_into_places_of_their_own() -> None:
    """What one pass asks for does not change while another runs."""
    asked = AmxReadouts([Readout(((2, 1.0),), "mean")], 64, library())
    (one, of_one), (other, of_other) = asked.room(PACKED), asked.room(PACKED)
    assert [one[0].out, other[0].out] == [of_one[0].data_ptr(), of_other[0].data_ptr()]
    assert one[0].out != other[0].out
    assert one[0].weights == other[0].weights

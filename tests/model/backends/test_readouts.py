"""Readouts as the kernels take them."""

from __future__ import annotations

import numpy as np
import pytest

from worker.model.backends.arithmetics import BFLOAT16_TILES, FLOAT32, Arithmetic
from worker.model.backends.native.build import VARIANTS, load
from worker.model.backends.readouts import Readouts
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.heads.readout import Readout
from worker.model.text.packing import pack

PACKED = pack([np.arange(size, dtype=np.int32) for size in (2, 5)])


def head(hidden_size: int) -> Head:
    """Return a head of entities with random weights."""
    labels = tuple(map(str, range(17)))
    return Head(HeadConfig(name="any", task="ner", labels=labels, layers=(1, 3), hidden_size=hidden_size), 64)


@pytest.mark.parametrize(("arithmetic", "of_states"), [(FLOAT32, np.float32), (BFLOAT16_TILES, np.uint16)])
def test_there_is_room_for_what_is_read(arithmetic: Arithmetic, of_states: type) -> None:
    """States as they are, texts and logits in fp32, as many rows as there are tokens or texts."""
    readouts = [Readout(((2, 1.0),), None), Readout(((2, 1.0),), "mean"), Readout(((1, 0.5), (3, 0.5)), None, head(0))]
    asked = Readouts(readouts, hidden_size=64, computed_size=64, arithmetic=arithmetic, panel=32)
    structs, found = asked.allocate(PACKED)
    assert [array.shape for array in found] == [(7, 64), (2, 64), (7, 17)]
    assert [array.dtype for array in found] == [np.dtype(of_states), np.dtype(np.float32), np.dtype(np.float32)]
    assert [struct.out for struct in structs] == [array.ctypes.data for array in found]
    assert [(struct.first, struct.last, struct.pooling, bool(struct.head)) for struct in structs] == [
        (2, 2, 0, False),
        (2, 2, 1, False),
        (1, 3, 0, True),
    ]
    assert asked.num_layers == 3
    assert all(logits.dtype == np.float32 for logits in asked.finish(found, PACKED, load(VARIANTS[-1])))


def test_passes_beside_each_other_are_read_into_places_of_their_own() -> None:
    """The memory of one pass does not change while another runs."""
    asked = Readouts([Readout(((2, 1.0),), "mean")], hidden_size=64, computed_size=64, arithmetic=FLOAT32, panel=32)
    (one, of_one), (other, of_other) = asked.allocate(PACKED), asked.allocate(PACKED)
    assert [one[0].out, other[0].out] == [of_one[0].ctypes.data, of_other[0].ctypes.data]
    assert one[0].out != other[0].out
    assert one[0].weights == other[0].weights

"""The arithmetics of the native engine: how weights lie in memory for each, and how exact each is. Without torch.

float32    exact, in vector registers
int16      integers of 12 to 14 bits in vector registers: between float32 and bfloat16 in exactness, twice as fast as float32
int8       bytes in vector registers, calibrated
bfloat16   on tile registers (AMX), or in vector registers (AVX-512 BF16)
int8 tiles bytes on tile registers (AMX), calibrated
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# As `engine/arithmetic.h` has them: steps of four bytes that are added up in one block.
_BLOCK_STEPS = 192
_LARGEST_SUM = 2**31 - 1
# Integers of more bits would not fit 16 bits twice; and the largest of a byte.
_LARGEST_SHORT, _LARGEST_BYTE = 16_383, 127
# The bytes of a state count from this number.
_SHIFT = 128
# As `engine/attention.h` has it: numbers of the feed-forward that are computed together.
_PIECE = 384
# Numbers that are rounded in one step.
_NUMBERS_AT_ONCE = 1 << 15
# On tiles, products of fewer tokens than this take less time than the weights take to arrive.
_MIN_TILED_TOKENS = 128
# Columns of a panel on tile registers, and columns of a tile.
_TILE_PANEL, _TILE = 32, 16


@dataclass(frozen=True, slots=True)
class Product:
    """The weights `[outputs, inputs]` of one product as a kernel takes them."""

    weights: NDArray[Any]
    #: What a sum of each output is multiplied with, fp32, `[outputs]`; None where sums are numbers already.
    scale: Floats | None = None
    #: What the sum of each block and output begins with, int32, `[blocks, outputs]`; None for 0.
    start: NDArray[np.int32] | None = None
    #: The largest integer of a row that enters the product.
    limit: int = 0
    #: The sum of the integer weights of each output, fp32.
    totals: Floats | None = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How numbers are multiplied."""

    name: str
    #: The number of the arithmetic in the kernels.
    number: int
    #: Return the weights of a product; the second argument is the panel of the library's vectors.
    lay_out: Callable[[Floats, int], Product]
    #: The tokens of a group: what passes between its products stays in the second-level cache.
    group_tokens: int
    #: The tokens of the smallest group that is worth a thread of its own.
    min_group_tokens: int = 1
    is_tiled: bool = False
    is_calibrated: bool = False

    @property
    def in_tables(self) -> Callable[[Floats], NDArray[Any]]:
        """How embeddings lie in memory."""
        return to_bfloat16 if self.is_tiled else np.ascontiguousarray


def lay_out_panels(weight: NDArray[Any], panel: int) -> NDArray[Any]:
    """Return weights `[outputs, inputs]` by panels of outputs and steps of four bytes of input for each of these."""
    outputs, inputs = weight.shape
    numbers = 4 // weight.itemsize
    return np.ascontiguousarray(weight.reshape(outputs // panel, panel, inputs // numbers, numbers).transpose(0, 2, 1, 3))


def lay_out_tiles(weight: NDArray[Any]) -> NDArray[Any]:
    """Return weights `[outputs, inputs]` by panels of 32 outputs, steps of 64 bytes, and two tiles of 16 outputs.

    A row of a tile holds four bytes of input for each of its outputs.
    """
    outputs, inputs = weight.shape
    numbers = 4 // weight.itemsize
    tiles = weight.reshape(outputs // _TILE_PANEL, 2, _TILE, inputs // (_TILE * numbers), _TILE, numbers)
    return np.ascontiguousarray(tiles.transpose(0, 3, 1, 4, 2, 5))


def to_bfloat16(numbers: Floats) -> NDArray[np.uint16]:
    """Round to bfloat16, to the nearest, ties to even; numbers that are not finite stay so."""
    flat = np.ascontiguousarray(numbers, dtype=np.float32).reshape(-1)
    rounded = np.empty(flat.shape, dtype=np.uint16)
    # Parts that stay in the cache: a table of words is larger than the cache several times over.
    for first in range(0, len(flat), _NUMBERS_AT_ONCE):
        part = flat[first : first + _NUMBERS_AT_ONCE]
        bits = part.view(np.uint32)
        rounded[first : first + _NUMBERS_AT_ONCE] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        rounded[first : first + _NUMBERS_AT_ONCE][np.isnan(part)] = 0x7FC0
    return rounded.reshape(numbers.shape)


def from_bfloat16(bits: NDArray[np.uint16]) -> Floats:
    """Return bfloat16 as fp32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def quantize_by_output(weight: Floats, largest: int, dtype: type[Any]) -> tuple[NDArray[Any], Floats]:
    """Return weights as integers up to `largest`, and for each output what an integer is multiplied with, fp32."""
    scale = np.maximum(np.abs(weight).max(axis=1) / largest, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(dtype), scale


def _in_float32(weight: Floats, panel: int) -> Product:
    return Product(lay_out_panels(weight, panel))


def _in_int16(weight: Floats, panel: int) -> Product:
    """Quantize weights to as many bits as leave an activation as many, without overflow in any block of inputs.

    A sum is at most the largest activation times the sum of the sizes of the weights (the L1 norm of a row).
    """
    sizes = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    largest = int((_LARGEST_SUM / max(1.0, float(_largest_block_sum(np.abs(weight) / sizes)))) ** 0.5)
    rounded, scale = quantize_by_output(weight, max(1, min(largest, _LARGEST_SHORT)), np.int16)
    limit = _LARGEST_SUM // max(1, int(_largest_block_sum(np.abs(rounded.astype(np.int64)))))
    return Product(lay_out_panels(rounded, panel), scale, limit=min(limit, _LARGEST_SHORT))


def _largest_block_sum(sizes: NDArray[Any]) -> Any:
    """Return the largest sum of a row's numbers over a block; a feed-forward's pieces begin where blocks begin."""
    return np.add.reduceat(sizes, np.arange(0, sizes.shape[1], 2 * _BLOCK_STEPS), axis=1).max()


def _in_bytes(weight: Floats, panel: int) -> Product:
    rounded, scale = quantize_by_output(weight, _LARGEST_BYTE, np.int8)
    firsts = np.arange(0, weight.shape[1], 4 * _BLOCK_STEPS)
    start = -_SHIFT * np.add.reduceat(rounded.astype(np.int32), firsts, axis=1).T
    totals = rounded.sum(axis=1, dtype=np.int64).astype(np.float32)
    return Product(lay_out_panels(rounded, panel), scale, np.ascontiguousarray(start, dtype=np.int32), _LARGEST_BYTE, totals)


def lay_out_contraction(weight: Floats, arithmetic: Arithmetic, panel: int) -> Product:
    """Lay out the weights of the second product of the feed-forward, of which the kernels take a piece of the inputs at a time.

    Bytes have a scale for each piece and output, which keeps a large weight from making all others of its output coarse. Scales,
    starts and totals are then `[pieces, outputs]`.
    """
    if not arithmetic.is_calibrated:
        return arithmetic.lay_out(weight, panel)
    parts = [
        quantize_by_output(weight[:, first : first + _PIECE], _LARGEST_BYTE, np.int8) for first in range(0, weight.shape[1], _PIECE)
    ]
    rounded = np.concatenate([part for part, _ in parts], axis=1)
    totals = np.stack([part.sum(axis=1, dtype=np.int32) for part, _ in parts])
    return Product(
        lay_out_tiles(rounded) if arithmetic.is_tiled else lay_out_panels(rounded, panel),
        np.stack([scale for _, scale in parts]),
        -_SHIFT * totals,
        _LARGEST_BYTE,
        totals.astype(np.float32),
    )


def _in_bfloat16(weight: Floats, panel: int) -> Product:
    return Product(lay_out_panels(to_bfloat16(weight), panel))


def _in_bfloat16_tiles(weight: Floats, _panel: int) -> Product:
    return Product(lay_out_tiles(to_bfloat16(weight)))


def _in_byte_tiles(weight: Floats, _panel: int) -> Product:
    rounded, scale = quantize_by_output(weight, _LARGEST_BYTE, np.int8)
    return Product(lay_out_tiles(rounded), scale, totals=rounded.sum(axis=1, dtype=np.int64).astype(np.float32))


FLOAT32 = Arithmetic("float32", 0, _in_float32, 160)
INT16 = Arithmetic("int16", 1, _in_int16, 160)
INT8 = Arithmetic("int8", 2, _in_bytes, 160, is_calibrated=True)
BFLOAT16_TILES = Arithmetic("bfloat16", 3, _in_bfloat16_tiles, 384, _MIN_TILED_TOKENS, is_tiled=True)
INT8_TILES = Arithmetic("int8", 4, _in_byte_tiles, 256, _MIN_TILED_TOKENS, is_tiled=True, is_calibrated=True)
BFLOAT16 = Arithmetic("bfloat16", 5, _in_bfloat16, 160)
ARITHMETICS = (FLOAT32, INT16, INT8, BFLOAT16_TILES, INT8_TILES, BFLOAT16)

"""Integers of 1 to 64 bits, packed continuously as tensor files hold them (NNEF 1.0.5, section 5.2).

Widths of whole bytes are little-endian integers of that many bytes. Other widths form a bit stream that fills each
byte from its most significant bit, an item's own most significant bit first; the last byte is padded with zeros.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def container(bits: int) -> int:
    """The bytes of the smallest NumPy integer that has the bits: 1, 2, 4 or 8."""
    return next(size for size in (1, 2, 4, 8) if bits <= 8 * size)


def unpack(data: np.ndarray, bits: int, count: int, *, signed: bool) -> np.ndarray:
    """``count`` integers out of ``data`` (uint8[ceil(count * bits / 8)]), each in its ``container``.

    Shares the memory of ``data`` where the items are NumPy's own.
    """
    size = container(bits)
    unsigned = np.dtype(f"u{size}")
    if bits == 8 * size:
        codes = data.view(unsigned.newbyteorder("<")).astype(unsigned, copy=False)
    elif bits % 8 == 0:
        wide = np.zeros((count, size), np.uint8)
        wide[:, : bits // 8] = data.reshape(count, bits // 8)
        codes = wide.reshape(-1).view(unsigned.newbyteorder("<")).astype(unsigned, copy=False)
    else:
        codes = _unpack_stream(data, bits, count, unsigned)
    if not signed:
        return codes
    if bits < 8 * size:
        sign = unsigned.type(1 << (bits - 1))
        codes ^= sign
        codes -= sign
    return codes.view(f"i{size}")


def pack(values: np.ndarray, bits: int, *, signed: bool) -> np.ndarray:
    """The inverse of ``unpack``: integers of any NumPy width as uint8[ceil(count * bits / 8)].

    Raises ValueError if the values are no integers or need more bits.
    """
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if values.dtype.kind not in "iu":
        raise ValueError(f"integer items cannot be written from values of NumPy's {values.dtype}")
    if values.size and not (low <= int(values.min()) and int(values.max()) <= high):
        raise ValueError(f"values from {values.min()} to {values.max()} do not fit {bits} bits ({low} to {high})")
    size = container(bits)
    codes = values.astype(f"<{'i' if signed else 'u'}{size}", copy=False)
    if bits == 8 * size:
        return codes.view(np.uint8)
    if bits % 8 == 0:
        return np.ascontiguousarray(codes.view(np.uint8).reshape(-1, size)[:, : bits // 8]).reshape(-1)
    return _pack_stream(codes.astype(codes.dtype.newbyteorder("="), copy=False).view(f"u{size}"), bits)


def _pieces(bits: int, position: int) -> Iterator[tuple[int, int, int]]:
    """Where the item at ``position`` of a group of eight lies: (byte, shift from its low end, width), high bits first.

    Eight items of ``bits`` bits fill ``bits`` bytes exactly.
    """
    start, stop = position * bits, (position + 1) * bits
    while start < stop:
        byte, lead = divmod(start, 8)
        width = min(8 - lead, stop - start)
        yield byte, 8 - lead - width, width
        start += width


def _unpack_stream(data: np.ndarray, bits: int, count: int, dtype: np.dtype) -> np.ndarray:
    groups, rest = divmod(count, 8)
    codes = np.empty(count, dtype)
    _unpack_groups(data[: groups * bits].reshape(groups, bits), codes[: groups * 8].reshape(groups, 8), bits)
    if rest:
        padded, last = np.zeros((1, bits), np.uint8), np.empty((1, 8), dtype)
        padded[0, : data.size - groups * bits] = data[groups * bits :]
        _unpack_groups(padded, last, bits)
        codes[groups * 8 :] = last[0, :rest]
    return codes


def _unpack_groups(data: np.ndarray, codes: np.ndarray, bits: int) -> None:
    for position in range(8):
        code = codes[:, position]
        code[...] = 0
        for byte, shift, width in _pieces(bits, position):
            code <<= code.dtype.type(width)
            code |= (data[:, byte] >> np.uint8(shift)) & np.uint8((1 << width) - 1)


def _pack_stream(codes: np.ndarray, bits: int) -> np.ndarray:
    groups, rest = divmod(codes.size, 8)
    data = np.zeros((groups + bool(rest)) * bits, np.uint8)
    _pack_groups(codes[: groups * 8].reshape(groups, 8), data[: groups * bits].reshape(groups, bits), bits)
    if rest:
        last = np.zeros((1, 8), codes.dtype)
        last[0, :rest] = codes[groups * 8 :]
        _pack_groups(last, data[groups * bits :].reshape(1, bits), bits)
    return data[: (codes.size * bits + 7) // 8]


def _pack_groups(codes: np.ndarray, data: np.ndarray, bits: int) -> None:
    for position in range(8):
        remaining = bits
        for byte, shift, width in _pieces(bits, position):
            remaining -= width
            piece = (codes[:, position] >> codes.dtype.type(remaining)) & codes.dtype.type((1 << width) - 1)
            data[:, byte] |= piece.astype(np.uint8) << np.uint8(shift)

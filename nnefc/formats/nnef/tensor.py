"""NNEF's tensor files: a header of 128 bytes, then the items (NNEF 1.0.5, section 5.2)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np

from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.formats.nnef import bits as bitstream
from nnefc.ir.graph import Tensor
from nnefc.ir.types import DType

HEADER_SIZE = 128
MAX_RANK = 8
MAX_U32 = 2**32 - 1
ITEMS = ("float", "uint", "quint", "qint", "int", "bool")
"""The item types; the position is the code in the file."""

_FIELDS = struct.Struct("<2sBBII8III")
_PARAMETERS = HEADER_SIZE - _FIELDS.size
_MAGIC = b"N\xef"


@dataclass(frozen=True)
class TensorHeader:
    """What a header says, checked for sense. ``parameters`` are the deprecated and reserved bytes that follow the
    fields, without trailing zeros."""

    shape: tuple[int, ...]
    item: str
    bits: int
    parameters: bytes = b""

    @cached_property
    def count(self) -> int:
        """The number of items."""
        return math.prod(self.shape)

    @property
    def data_length(self) -> int:
        """The bytes that the items take in the file."""
        return (self.count * self.bits + 7) // 8

    @property
    def signed(self) -> bool:
        """Whether integer items are in two's complement: ``int``, ``qint``, and ``uint`` whose first deprecated
        parameter is not zero."""
        return self.item in ("int", "qint") or (self.item == "uint" and any(self.parameters[:4]))

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type that holds an item: bool for 1-bit bools, uint8 as stored for 8-bit ones, else the smallest
        that has the bits."""
        if self.item == "float":
            return np.dtype(f"f{self.bits // 8}")
        if self.item == "bool":
            return np.dtype(bool if self.bits == 1 else np.uint8)
        return np.dtype(f"{'i' if self.signed else 'u'}{bitstream.container(self.bits)}")

    @property
    def memory(self) -> int:
        """The bytes that the items may take once a graph holds and computes with them: integers widen to 64 bits,
        quantized ones become 32-bit floats."""
        widened = {"uint": 8, "int": 8, "quint": 4, "qint": 4}
        return self.count * max(self.dtype.itemsize, widened.get(self.item, 1))


def parse_header(raw: bytes, size: int, name: str) -> TensorHeader:
    """The header in ``raw``, the first bytes of a tensor file of ``size`` bytes called ``name``.

    Everything that the header claims is compared with ``size``, so that the caller may allocate what it says. Raises
    InvalidModelError if it is malformed or does not fit the size, UnsupportedError for a vendor's item type.
    """
    place = Location(name)
    if len(raw) < HEADER_SIZE or size < HEADER_SIZE:
        have = min(len(raw), size)
        raise InvalidModelError(f"the file ends inside its header: {have} bytes of {HEADER_SIZE}", place)
    magic, major, minor, data_length, rank, *rest = _FIELDS.unpack_from(raw)
    extents, (bits, code) = rest[:MAX_RANK], rest[MAX_RANK:]
    if magic != _MAGIC:
        raise InvalidModelError(f"not a tensor file: it starts with 0x{magic.hex()}, not 0x{_MAGIC.hex()}", place)
    if (major, minor) != (1, 0):
        raise InvalidModelError(f"version {major}.{minor} of tensor files is unknown; there is 1.0", place)
    item = _item_type(code, bits, place)
    if rank > MAX_RANK:
        raise InvalidModelError(f"rank {rank} exceeds {MAX_RANK}", place)
    if 0 in extents[:rank] or any(extents[rank:]):
        what = f"{rank} positive extents and zeros after them" if rank else "no extents"
        raise InvalidModelError(f"the extents are {extents}; a tensor of rank {rank} has {what}", place)
    parameters = raw[_FIELDS.size : HEADER_SIZE].rstrip(b"\0")
    header = TensorHeader(tuple(extents[:rank]), item, bits, parameters)
    _check_size(header, data_length, size, place)
    return header


def _item_type(code: int, bits: int, place: Location) -> str:
    vendor, kind = code >> 16, code & 0xFFFF
    if vendor:
        letters = vendor.to_bytes(2, "big")
        called = f" ({letters.decode()!r})" if letters.isalnum() else ""
        raise UnsupportedError(f"item type 0x{kind:04x} of the vendor 0x{vendor:04x}{called} is not supported", place)
    if kind >= len(ITEMS):
        raise InvalidModelError(f"unknown item type {kind}; the standard has 0 to {len(ITEMS) - 1}", place)
    item = ITEMS[kind]
    if fault := _bits_fault(item, bits):
        raise InvalidModelError(fault, place)
    return item


def _bits_fault(item: str, bits: int) -> str | None:
    allowed = {"float": (16, 32, 64), "bool": (1, 8)}.get(item, range(1, 65))
    if bits in allowed:
        return None
    listed = "1 to 64" if isinstance(allowed, range) else " or ".join(map(str, allowed))
    return f"{item} items of {bits} bits; they may have {listed}"


def _check_size(header: TensorHeader, data_length: int, size: int, place: Location) -> None:
    if header.data_length != data_length:
        raise InvalidModelError(
            f"{header.bits}-bit items of shape {list(header.shape)} take {header.data_length} bytes, "
            f"but the header's data length is {data_length}",
            place,
        )
    if size != HEADER_SIZE + data_length:
        raise InvalidModelError(
            f"the file has {size} bytes, but its header describes {HEADER_SIZE + data_length} "
            f"({HEADER_SIZE} and {data_length} of data)",
            place,
        )


def read_tensor(
    source: BinaryIO | bytes | bytearray | memoryview, size: int, name: str, *, most: int | None = None
) -> Tensor:
    """The tensor in a stream of ``size`` bytes, or in a buffer, as stored; ``name`` is the file's, for errors.

    Nothing is allocated before the header agrees with ``size``. Whole-byte items of a buffer are not copied. ``most``
    bounds the memory (``TensorHeader.memory``) that the tensor may ask for. Raises as ``parse_header`` does, and
    InvalidModelError if the stream ends early, if bits beyond the last item are set or if ``most`` is exceeded.
    """
    view = memoryview(source) if isinstance(source, (bytes, bytearray, memoryview)) else None
    if view is not None:
        raw, size = bytes(view[:HEADER_SIZE]), len(view)
    else:
        raw = _read_up_to(source, HEADER_SIZE)  # type: ignore[arg-type]
    header = parse_header(raw, size, name)
    if most is not None and header.memory > most:
        raise InvalidModelError(
            f"a tensor of shape {list(header.shape)} takes {header.memory} bytes, more than the {most} that a "
            "compressed file of this size may unfold to",
            Location(name),
        )
    if view is not None:
        data = np.frombuffer(view, np.uint8, header.data_length, HEADER_SIZE)
    else:
        data = np.empty(header.data_length, np.uint8)
        got = _fill(source, memoryview(data))  # type: ignore[arg-type]
        if got != header.data_length:
            message = f"the file ends after {got} of {header.data_length} bytes of data"
            raise InvalidModelError(message, Location(name))
    array = _unpack(header, data, name).reshape(header.shape)
    array.flags.writeable = False
    return Tensor(array, header.item, header.bits, header.parameters)


def _read_up_to(stream: BinaryIO, count: int) -> bytes:
    data = bytearray(count)
    return bytes(data[: _fill(stream, memoryview(data))])


def _fill(stream: BinaryIO, target: memoryview) -> int:
    """Read until ``target`` is full or the stream ends; the number of bytes read."""
    done = 0
    while done < len(target):
        chunk = stream.read(min(1 << 20, len(target) - done))
        if not chunk:
            break
        target[done : done + len(chunk)] = chunk
        done += len(chunk)
    return done


def _unpack(header: TensorHeader, data: np.ndarray, name: str) -> np.ndarray:
    used = header.count * header.bits % 8
    if used and int(data[-1]) & (0xFF >> used):
        raise InvalidModelError("the bits after the last item are not zero", Location(name))
    if header.item == "float":
        return data.view(header.dtype.newbyteorder("<")).astype(header.dtype, copy=False)
    if header.item == "bool":
        return np.unpackbits(data, count=header.count).view(bool) if header.bits == 1 else data
    return bitstream.unpack(data, header.bits, header.count, signed=header.signed)


def tensor_parts(tensor: Tensor) -> tuple[bytes, memoryview]:
    """The header and the data of the tensor's file.

    Raises ValueError if the tensor's values do not fit its item type, UnsupportedError if the data exceeds the
    4 GiB - 1 that the format can describe.
    """
    data = tensor.data
    if tensor.item not in ITEMS:
        raise ValueError(f"unknown item type {tensor.item!r}; there are {', '.join(ITEMS)}")
    if fault := _bits_fault(tensor.item, tensor.bits):
        raise ValueError(fault)
    if data.ndim > MAX_RANK or not all(0 < d <= MAX_U32 for d in data.shape):
        raise ValueError(f"shape {list(data.shape)}: a tensor file holds up to {MAX_RANK} positive extents")
    if len(tensor.header) > _PARAMETERS:
        raise ValueError(f"{len(tensor.header)} parameter bytes; the header has room for {_PARAMETERS}")
    header = TensorHeader(data.shape, tensor.item, tensor.bits, tensor.header)
    if header.data_length > MAX_U32:
        raise UnsupportedError(f"a tensor of {header.data_length} bytes; a tensor file holds at most {MAX_U32}")
    extents = header.shape + (0,) * (MAX_RANK - data.ndim)
    code = ITEMS.index(tensor.item)
    fields = _FIELDS.pack(_MAGIC, 1, 0, header.data_length, data.ndim, *extents, tensor.bits, code)
    return fields + tensor.header.ljust(_PARAMETERS, b"\0"), _pack(header, np.asarray(data, order="C").reshape(-1)).data


def _pack(header: TensorHeader, data: np.ndarray) -> np.ndarray:
    if header.item in ("float", "bool"):
        if data.dtype != header.dtype:
            raise ValueError(f"{header.bits}-bit {header.item} items are held as {header.dtype}, not {data.dtype}")
        if header.item == "bool" and header.bits == 1:
            return np.packbits(data)
        return data.astype(header.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    return bitstream.pack(data, header.bits, signed=header.signed)


def write_tensor(tensor: Tensor) -> bytes:
    """The tensor's file. What ``read_tensor`` read is written bit for bit. Raises as ``tensor_parts`` does."""
    return b"".join(tensor_parts(tensor))


def tensor_of(array: np.ndarray) -> Tensor:
    """The array with the item type that is its own: floats, integers of 8 to 64 bits, and 1-bit bools.

    The array is not copied and must not be changed afterwards. Raises TypeError for another element type.
    """
    data = np.asarray(array)
    data = data.astype(data.dtype.newbyteorder("="), copy=False).view()
    kind = {"f": "float", "i": "int", "u": "uint", "b": "bool"}.get(data.dtype.kind)
    if kind is None or (kind == "float" and data.dtype.itemsize > 8):
        raise TypeError(f"a tensor file cannot hold items of NumPy's {data.dtype}")
    data.flags.writeable = False
    return Tensor(data, kind, 1 if kind == "bool" else 8 * data.dtype.itemsize)


def stores(item: str, dtype: DType) -> bool:
    """Whether the standard lets items of this type hold a variable of the element type (section 5.2.1)."""
    allowed = {"f": ("float", "quint", "qint"), "i": ("uint", "int"), "u": ("uint", "int"), "b": ("bool",)}
    return item in allowed[dtype.kind]


def values(tensor: Tensor, dtype: DType) -> np.ndarray:
    """The stored values as elements of ``dtype``, without a copy where they are that already.

    Float items convert to floats as IEEE 754 rounds. Integer items must be representable exactly. Codes of quantized
    items stay codes: exact as integers, rounded as floats; decoding them is not done here. Raises InvalidModelError,
    without a place, if a value is out of range or the item type has no such values at all.
    """
    data, target = tensor.data, dtype.numpy
    if tensor.item == "bool" and dtype is DType.BOOL:
        return data.astype(bool, copy=False)
    if tensor.item == "bool" or dtype is DType.BOOL or (tensor.item == "float" and dtype.kind != "f"):
        raise InvalidModelError(f"{tensor.bits}-bit {tensor.item} items cannot be the values of a tensor of {dtype}")
    if tensor.item in ("uint", "int") or (tensor.item != "float" and dtype.kind != "f"):
        low, high = _exact_range(dtype)
        if data.size and not (low <= int(data.min()) and int(data.max()) <= high):
            outside = int(data.min()) if int(data.min()) < low else int(data.max())
            raise InvalidModelError(f"the stored value {outside} is not exact in a tensor of {dtype} ({low} to {high})")
    with np.errstate(over="ignore"):
        return data.astype(target, copy=False)


def _exact_range(dtype: DType) -> tuple[int, int]:
    if dtype.kind == "f":
        most = 2 ** (np.finfo(dtype.numpy).nmant + 1)
        return -most, most
    info = np.iinfo(dtype.numpy)
    return int(info.min), int(info.max)

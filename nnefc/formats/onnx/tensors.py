"""ONNX tensors as arrays: element types, and where their values lie."""

from __future__ import annotations

import errno
import math
import mmap
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np
import onnx

from nnefc.errors import InvalidModelError, UnsupportedError
from nnefc.formats.onnx import narrow
from nnefc.ir.types import DType

_T = onnx.TensorProto
DTYPES: dict[int, DType] = {
    _T.FLOAT: DType.F32,
    _T.DOUBLE: DType.F64,
    _T.FLOAT16: DType.F16,
    _T.BFLOAT16: DType.BF16,
    _T.INT8: DType.I8,
    _T.INT16: DType.I16,
    _T.INT32: DType.I32,
    _T.INT64: DType.I64,
    _T.UINT8: DType.U8,
    _T.UINT16: DType.U16,
    _T.UINT32: DType.U32,
    _T.UINT64: DType.U64,
    _T.BOOL: DType.BOOL,
}
"""Element types of ONNX that tensors may have."""
ONNX_TYPES: dict[DType, int] = {dtype: code for code, dtype in DTYPES.items()}
_FIELDS: dict[int, str] = {
    int(_T.FLOAT): "float_data",
    int(_T.DOUBLE): "double_data",
    int(_T.INT64): "int64_data",
    int(_T.UINT32): "uint64_data",
    int(_T.UINT64): "uint64_data",
}
"""Where the values of an element type are stored that are not raw bytes; those of others lie in ``int32_data``."""
MAX_RANK = 32

Buffer = memoryview | mmap.mmap | bytes


def numpy_type(dtype: DType) -> np.dtype:
    """The NumPy element type; that of ``ml_dtypes`` for bfloat16."""
    return np.dtype(ml_dtypes.bfloat16) if dtype is DType.BF16 else dtype.numpy


def type_name(code: int) -> str:
    """The name of an ONNX element type."""
    return str(_T.DataType.Name(code)) if code in _T.DataType.values() else f"number {code}"


def element_type(code: int, what: str) -> DType:
    """The element type of an ONNX code. Raises InvalidModelError for none, UnsupportedError for one we do not have."""
    if code in DTYPES:
        return DTYPES[code]
    if code == _T.UNDEFINED or code not in _T.DataType.values():
        raise InvalidModelError(f"{what} has no valid element type ({code})")
    raise UnsupportedError(f"{what} has elements of type {type_name(code)}, which are not supported")


def require_text(*names: object) -> None:
    """Raise InvalidModelError if a name is no UTF-8 text; the protobuf parser then leaves it as bytes."""
    for name in names:
        if not isinstance(name, str):
            raise InvalidModelError(f"the name {name!r:.80} is no UTF-8 text")


def open_inside(folder: str, path: str, what: str) -> int:
    """A descriptor of the regular file ``path`` below ``folder``, no link on the way followed.

    Raises InvalidModelError if it is absolute, leads out, or is no such file.
    """
    parts = path.split("/")
    if not path or "\0" in path or "\\" in path or path.startswith("/") or ":" in parts[0] or ".." in parts:
        raise InvalidModelError(f"{what} lies in {path[:200]!r}, which is no path inside the model's folder")
    parts = [p for p in parts if p not in ("", ".")]
    if not parts:
        raise InvalidModelError(f"{what} lies in {path[:200]!r}, which is no file")
    try:
        at = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
        for i, part in enumerate(parts):
            last = i == len(parts) - 1
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_NONBLOCK if last else os.O_DIRECTORY)
            try:
                inner = os.open(part, flags, dir_fd=at)
            finally:
                os.close(at)
            at = inner
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.ENOTDIR)
        why = "a link, or leads through one; links are not followed" if link else os.strerror(error.errno or 0)
        raise InvalidModelError(f"{what} lies in {path[:200]!r}: {why}") from None
    if not stat.S_ISREG(os.fstat(at).st_mode):
        os.close(at)
        raise InvalidModelError(f"{what} lies in {path[:200]!r}, which is no regular file")
    return at


def map_file(descriptor: int) -> Buffer:
    """The file's bytes, mapped for reading. Closes the descriptor."""
    try:
        size = os.fstat(descriptor).st_size
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if size else b""
    finally:
        os.close(descriptor)


@dataclass
class Weights:
    """Where the values of a model's tensors lie: in the messages themselves, in the model's file at the places in
    ``ranges`` (by the index of the initialiser), or in files beside it, below ``folder``; None allows no such file."""

    folder: str | None
    file: str
    data: Buffer = b""
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    _external: dict[str, Buffer] = field(default_factory=dict)

    def initializer(self, index: int, tensor: onnx.TensorProto) -> np.ndarray:
        """The values of the initialiser ``index`` of the main graph. Raises as ``array`` does."""
        if index not in self.ranges:
            return self.array(tensor)
        start, length = self.ranges[index]
        return self.array(tensor, lambda: (self.data, start, length))

    def array(
        self, tensor: onnx.TensorProto, stored: Callable[[], tuple[Buffer, int, int]] | None = None
    ) -> np.ndarray:
        """The values of a tensor, without a copy where they are stored as they are in memory.

        Raises InvalidModelError if they do not fit its type and shape, or lie outside of the model, and
        UnsupportedError for element types that tensors do not have.
        """
        require_text(tensor.name)
        what = f"the tensor {tensor.name!r}"
        if tensor.HasField("segment"):
            raise UnsupportedError(f"{what} is a segment of another")
        short = narrow.NARROW.get(tensor.data_type)
        dtype = element_type(tensor.data_type, what) if short is None else narrow.wide_type(short)
        shape = tuple(tensor.dims)
        if len(shape) > MAX_RANK or any(d < 0 for d in shape):
            raise InvalidModelError(f"{what} has the shape {list(shape[:MAX_RANK])}")
        count = math.prod(shape)
        wanted = count * dtype.size if short is None else narrow.packed_size(short, shape)
        if tensor.data_location == _T.EXTERNAL:
            buffer, start, length = self._outside(tensor, what, wanted)
        elif stored is not None:
            buffer, start, length = stored()
        elif tensor.HasField("raw_data"):
            buffer, start = tensor.raw_data, 0
            length = len(tensor.raw_data)
        elif short is not None:
            return _short(tensor, short, shape, what)
        else:
            return _typed(tensor, dtype, shape, what)
        if length != wanted:
            held = dtype if short is None else short
            raise InvalidModelError(f"{what} of {held} and shape {list(shape)} needs {wanted} bytes, but has {length}")
        if short is not None:
            return narrow.unpacked(np.frombuffer(buffer, np.uint8, length, start), short, shape)
        array = np.frombuffer(buffer, numpy_type(dtype), count, start) if count else np.empty(0, numpy_type(dtype))
        return array.reshape(shape)

    def _outside(self, tensor: onnx.TensorProto, what: str, wanted: int) -> tuple[Buffer, int, int]:
        """The mapped file, offset and length of external data."""
        entries = {e.key: e.value for e in tensor.external_data}
        require_text(*entries, *entries.values())
        if self.folder is None:
            raise InvalidModelError(f"{what} has its data in another file, but the model was not read from a file")
        path = entries.get("location", "")
        offset, length = (_size(entries.get(key), f"{what}: {key}") for key in ("offset", "length"))
        if path not in self._external:
            if len(self._external) >= 4096:
                raise UnsupportedError("the model's data lies in more than 4096 files")
            self._external[path] = map_file(open_inside(self.folder, path, f"the data of {what}"))
        data = self._external[path]
        start, size = offset or 0, wanted if length is None else length
        if start + size > len(data):
            raise InvalidModelError(
                f"the data of {what} would lie at bytes {start} to {start + size} of {path!r}, which has {len(data)}"
            )
        return data, start, size


def _size(text: str | None, what: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidModelError(f"{what} is {text[:40]!r}, which is no number of bytes")
    return int(text)


def _short(tensor: onnx.TensorProto, dtype: np.dtype, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Values of less than 16 bits stored as one number per byte."""
    stored, wanted = tensor.int32_data, narrow.packed_size(dtype, shape)
    if len(stored) != wanted:
        raise InvalidModelError(f"{what} of shape {list(shape)} needs {wanted} numbers, but has {len(stored)}")
    return narrow.unpacked(np.array(stored, np.int64).astype(np.uint8), dtype, shape)


def _typed(tensor: onnx.TensorProto, dtype: DType, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Values stored in the field for their type; 16-bit floats as their bits."""
    stored = getattr(tensor, _FIELDS.get(int(tensor.data_type), "int32_data"))
    count = math.prod(shape)
    if len(stored) != count:
        raise InvalidModelError(f"{what} of shape {list(shape)} needs {count} values, but has {len(stored)}")
    if dtype in (DType.F16, DType.BF16):
        return np.array(stored, np.int64).astype(np.uint16).view(numpy_type(dtype)).reshape(shape)
    wide = np.uint64 if dtype.kind == "u" else np.int64
    values = np.array(stored, dtype.numpy if dtype.kind == "f" else wide)
    return values.astype(dtype.numpy, copy=False).reshape(shape)

"""Elements of less than 16 bits that no tensor of a Graph has: known at import only, and widened where they are used.

Arrays of them have the element types of ``ml_dtypes``, one byte each. Source: ONNX's pages on int2, int4, float4 and
float8.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import onnx

from nnefc.ir.types import DType

_T = onnx.TensorProto
NARROW: dict[int, np.dtype] = {
    int(_T.INT4): np.dtype(ml_dtypes.int4),
    int(_T.UINT4): np.dtype(ml_dtypes.uint4),
    int(_T.INT2): np.dtype(ml_dtypes.int2),
    int(_T.UINT2): np.dtype(ml_dtypes.uint2),
    int(_T.FLOAT4E2M1): np.dtype(ml_dtypes.float4_e2m1fn),
    int(_T.FLOAT8E4M3FN): np.dtype(ml_dtypes.float8_e4m3fn),
    int(_T.FLOAT8E4M3FNUZ): np.dtype(ml_dtypes.float8_e4m3fnuz),
    int(_T.FLOAT8E5M2): np.dtype(ml_dtypes.float8_e5m2),
    int(_T.FLOAT8E5M2FNUZ): np.dtype(ml_dtypes.float8_e5m2fnuz),
    int(_T.FLOAT8E8M0): np.dtype(ml_dtypes.float8_e8m0fnu),
}
"""The element types by their ONNX codes."""
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "float4_e2m1fn": 4}
_WIDE = {"int4": DType.I8, "int2": DType.I8, "uint4": DType.U8, "uint2": DType.U8, "float8_e8m0fnu": DType.F32}
"""What holds every value exactly; F16 for the other types."""


def is_narrow(value: object) -> bool:
    """Whether a value is an array of such elements."""
    return isinstance(value, np.ndarray) and value.dtype in NARROW.values()


def bits(dtype: np.dtype) -> int:
    """The bits that an element has in its file."""
    return _BITS.get(dtype.name, 8)


def wide_type(dtype: np.dtype) -> DType:
    """The element type that the elements are widened to, which has each of their values."""
    return _WIDE.get(dtype.name, DType.F16)


def widened(array: np.ndarray) -> np.ndarray:
    """The same values as elements that tensors have; an array of other elements as it is."""
    return array.astype(wide_type(array.dtype).numpy) if is_narrow(array) else array


def packed_size(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    """The bytes that elements take, several to a byte where they are shorter."""
    return (math.prod(shape) * bits(dtype) + 7) // 8


def unpacked(data: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """The elements in ``packed_size`` bytes (uint8); the first of each byte lies in its lowest bits."""
    width = bits(dtype)
    if width < 8:
        shifts = np.arange(0, 8, width, dtype=np.uint8)
        codes = (data[:, None] >> shifts) & np.uint8((1 << width) - 1)
        data = codes.reshape(-1)[: math.prod(shape)]
        if dtype.name.startswith("int"):
            sign = np.uint8(1 << (width - 1))
            return ((data ^ sign).view(np.int8) - sign.view(np.int8)).astype(dtype).reshape(shape)
        if dtype.name.startswith("uint"):
            return data.astype(dtype).reshape(shape)
    return data.view(dtype).reshape(shape)

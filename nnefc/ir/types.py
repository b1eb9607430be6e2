"""Element types and tensor types."""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from nnefc.ir.encoding import Encoding

Dim = int | str
"""An extent: a number, or the name of a symbol that is bound later."""


class DType(enum.Enum):
    """An element type; the value is its name in text. NNEF's scalar, integer and logical are F32, I64 and BOOL."""

    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"
    F64 = "f64"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"

    def __str__(self) -> str:
        return self.value

    @property
    def kind(self) -> str:
        """``"f"`` float, ``"i"`` signed, ``"u"`` unsigned, ``"b"`` logical."""
        return "f" if self is DType.BF16 else self.value[0]

    @property
    def bits(self) -> int:
        """Bits per element in memory (8 for BOOL)."""
        return 8 if self is DType.BOOL else int(self.value.lstrip("bfiu"))

    @property
    def size(self) -> int:
        """Bytes per element in memory."""
        return self.bits // 8

    @property
    def numpy(self) -> np.dtype:
        """The NumPy element type. That of BF16 is ml_dtypes' (of kind "V"): TypeError without that package."""
        if self is DType.BF16:
            return _bfloat16()
        return np.dtype("?" if self is DType.BOOL else f"{self.kind}{self.size}")

    @staticmethod
    def of(dtype: object) -> DType:
        """The element type of a NumPy dtype. Raises TypeError if there is none."""
        d = np.dtype(dtype)  # type: ignore[call-overload]
        if d.name == "bfloat16":
            return DType.BF16
        for t in DType:
            if t is not DType.BF16 and t.numpy == d:
                return t
        raise TypeError(f"no tensor element type for NumPy's {d}")


@functools.cache
def _bfloat16() -> np.dtype:
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError("NumPy has no bfloat16; the package ml_dtypes gives it one") from None
    return np.dtype(ml_dtypes.bfloat16)


SCALAR, INTEGER, LOGICAL = DType.F32, DType.I64, DType.BOOL

SUM_TYPES = {
    (DType.F32, DType.F32): DType.F32,
    (DType.F64, DType.F64): DType.F64,
    (DType.F32, DType.F16): DType.F32,
    (DType.F32, DType.BF16): DType.F32,
    (DType.F16, DType.F32): DType.F32,
    (DType.F16, DType.F16): DType.F32,
    (DType.F16, DType.BF16): DType.F32,
    (DType.BF16, DType.BF16): DType.F32,
    (DType.U8, DType.I8): DType.I32,
    (DType.U8, DType.I32): DType.I32,
}
"""What a contraction adds up in, by the element types of its operands."""


@dataclass(frozen=True)
class TensorType:
    """What is known of a tensor before it has values: element type, shape and, where quantized, its encoding."""

    dtype: DType
    shape: tuple[Dim, ...]
    encoding: Encoding | None = None

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    @property
    def rank(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def extents(self) -> tuple[int, ...]:
        """The shape as integers. Raises ValueError naming a dimension that is still a symbol."""
        for d in self.shape:
            if isinstance(d, str):
                raise ValueError(f"the dimension {d!r} of {self} is not bound to a number")
        return self.shape  # type: ignore[return-value]

    @property
    def volume(self) -> int:
        """The number of elements."""
        return math.prod(self.extents)

    def with_shape(self, shape: tuple[Dim, ...]) -> TensorType:
        """This type with another shape."""
        return replace(self, shape=tuple(shape))

    def with_encoding(self, encoding: Encoding | None) -> TensorType:
        """This type with another encoding."""
        return replace(self, encoding=encoding)

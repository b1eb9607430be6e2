"""The SIMD tile: what kernels are written with.

A tile is ``rows x cols`` vectors of ``lanes`` elements that live in registers. An instruction is a function with two
sides: its NumPy meaning, which runs when a kernel runs un-jitted, and the LLVM vector IR that it becomes when Numba
compiles the kernel. Pointers are 1-D arrays in the meaning; a tile is an array (rows, cols, lanes).

Only this module's users run inside compiler workers: importing it imports Numba.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.extending import models, register_model

from nnefc.codegen.emit import mem_type, reg_type, to_memory, to_register
from nnefc.codegen.spec import Access, Operand
from nnefc.codegen.target import Target
from nnefc.codegen.vecmath.llvm_vec import intrinsic, lane_numbers, mangled
from nnefc.ir.types import DType

I64 = ir.IntType(64)
I32 = ir.IntType(32)
INT = types.intp
Offsets = tuple[int, ...]


class Tile(types.Type):
    """The Numba type of a tile."""

    def __init__(self, dtype: DType, rows: int, cols: int, lanes: int):
        self.dtype, self.rows, self.cols, self.lanes = dtype, rows, cols, lanes
        super().__init__(name=f"tile<{dtype},{rows}x{cols}x{lanes}>")

    @property
    def llvm(self) -> ir.Type:
        """An LLVM array of vectors, which LLVM splits into registers."""
        return ir.ArrayType(reg_type(self.dtype, self.lanes), self.rows * self.cols)

    def constant(self, value: float | int | bool) -> ir.Constant:
        """Every element ``value``."""
        vector = splat_constant(self.dtype, self.lanes, value)
        return ir.Constant(self.llvm, [vector] * (self.rows * self.cols))

    def full(self, value: float | int | bool) -> np.ndarray:
        """The NumPy meaning of a constant tile."""
        return np.full((self.rows, self.cols, self.lanes), value, self.dtype.numpy)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Tile):
        super().__init__(manager, fe_type, fe_type.llvm)


def splat_constant(dtype: DType, lanes: int, value: float | int | bool) -> ir.Constant:
    """A constant vector of equal elements."""
    kind = reg_type(dtype, lanes)
    return ir.Constant(kind, [ir.Constant(kind.element, value if dtype.kind == "f" else int(value))] * lanes)


def index(n: int) -> ir.Constant:
    """An i64 constant."""
    return ir.Constant(I64, n)


@dataclass(frozen=True)
class Vectors:
    """Emits the memory accesses of one vector of ``lanes`` elements; the state is the builder's."""

    builder: ir.IRBuilder
    target: Target
    lanes: int

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A vector of equal elements."""
        b, kind = self.builder, ir.VectorType(scalar.type, self.lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return b.shuffle_vector(first, undefined, lane_numbers([0] * self.lanes))

    def below(self, count: ir.Value) -> ir.Value:
        """The mask of lanes 0 .. count-1; ``count`` is signed."""
        kind = ir.VectorType(I64, self.lanes)
        iota = ir.Constant(kind, list(range(self.lanes)))
        return self.builder.icmp_signed("<", iota, self.splat(count))

    def element(self, pointer: ir.Value, offset: ir.Value) -> ir.Value:
        """The address of an element."""
        return self.builder.gep(pointer, [offset], inbounds=True)

    def _vector_pointer(self, pointer: ir.Value, offset: ir.Value, kind: ir.Type) -> ir.Value:
        return self.builder.bitcast(self.element(pointer, offset), kind.as_pointer())

    def _addresses(self, pointer: ir.Value, offsets: ir.Value, size: int) -> ir.Value:
        b = self.builder
        scale = ir.Constant(offsets.type, [size] * self.lanes)
        flat = b.add(self.splat(b.ptrtoint(pointer, I64)), b.mul(offsets, scale))
        return b.inttoptr(flat, ir.VectorType(pointer.type, self.lanes))

    def strided_offsets(self, offset: ir.Value, stride: ir.Value) -> ir.Value:
        """offset + lane * stride."""
        b = self.builder
        iota = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return b.add(self.splat(offset), b.mul(iota, self.splat(stride)))

    def gather(self, pointer: ir.Value, offsets: ir.Value, dtype: DType, mask: ir.Value | None) -> ir.Value:
        """One element per lane; lanes outside the mask are 0 and touch no memory."""
        kind = ir.VectorType(mem_type(dtype), self.lanes)
        addresses = self._addresses(pointer, offsets, dtype.size)
        name = f"llvm.masked.gather.{mangled(kind)}.v{self.lanes}p0"
        args = [addresses, ir.Constant(I32, dtype.size), self._mask(mask), _zeros(kind)]
        return to_register(self.builder, intrinsic(self.builder, name, kind, args), dtype, self.target)

    def load(
        self,
        pointer: ir.Value,
        offset: ir.Value,
        access: Access,
        stride: ir.Value | None,
        dtype: DType,
        mask: ir.Value | None,
    ) -> ir.Value:
        """One vector, as ``access`` says. Lanes outside the mask touch no memory."""
        b, kind = self.builder, ir.VectorType(mem_type(dtype), self.lanes)
        if access is Access.SAME:
            scalar = b.load(self.element(pointer, offset), align=dtype.size)
            return to_register(b, self.splat(scalar), dtype, self.target)
        if access is Access.STRIDED:
            return self.gather(pointer, self.strided_offsets(offset, stride), dtype, mask)
        if access is Access.SECOND and self.lanes > 1:
            return to_register(b, self._load_second(pointer, offset, kind, dtype, mask), dtype, self.target)
        return to_register(b, self._load_unit(pointer, offset, kind, dtype, mask), dtype, self.target)

    def _load_unit(
        self, pointer: ir.Value, offset: ir.Value, kind: ir.Type, dtype: DType, mask: ir.Value | None
    ) -> ir.Value:
        """Neighbouring elements as they are in memory."""
        b, address = self.builder, self._vector_pointer(pointer, offset, kind)
        if mask is None:
            return b.load(address, align=dtype.size)
        args = [address, ir.Constant(I32, dtype.size), mask, _zeros(kind)]
        return intrinsic(b, f"llvm.masked.load.{mangled(kind)}.p0", kind, args)

    def _load_second(
        self, pointer: ir.Value, offset: ir.Value, kind: ir.Type, dtype: DType, mask: ir.Value | None
    ) -> ir.Value:
        """Every second element as it is in memory, from two vectors that reach no further than the last of them."""
        b, n = self.builder, self.lanes
        low = self._load_unit(pointer, offset, kind, dtype, self._picked(mask, [(e + 1) // 2 for e in range(n)]))
        upper = b.add(offset, index(n - 1))
        high = self._load_unit(pointer, upper, kind, dtype, self._picked(mask, [(n + j) // 2 for j in range(n)]))
        return b.shuffle_vector(low, high, lane_numbers([*range(0, n, 2), *range(n + 1, 2 * n, 2)]))

    def _store_second(
        self, value: ir.Value, pointer: ir.Value, offset: ir.Value, dtype: DType, mask: ir.Value | None
    ) -> None:
        """Store to every second element, and to none between, by two masked stores."""
        b, n = self.builder, self.lanes
        for first, begin, odd in ((0, 0, 0), (n // 2, n - 1, 1)):
            numbers = [first + j // 2 for j in range(n)]
            spread = b.shuffle_vector(value, value, lane_numbers(numbers))
            own = ir.Constant(ir.VectorType(ir.IntType(1), n), [int(j % 2 == odd) for j in range(n)])
            valid = self._picked(mask, numbers)
            address = self._vector_pointer(pointer, b.add(offset, index(begin)), value.type)
            args = [spread, address, ir.Constant(I32, dtype.size), own if valid is None else b.and_(own, valid)]
            intrinsic(b, f"llvm.masked.store.{mangled(value.type)}.p0", ir.VoidType(), args)

    def _picked(self, mask: ir.Value | None, numbers: list[int]) -> ir.Value | None:
        """The mask whose lanes are those of these numbers."""
        return None if mask is None else self.builder.shuffle_vector(mask, mask, lane_numbers(numbers))

    def store(
        self,
        value: ir.Value,
        pointer: ir.Value,
        offset: ir.Value,
        access: Access,
        stride: ir.Value | None,
        dtype: DType,
        mask: ir.Value | None,
    ) -> None:
        """Store one vector, as ``access`` says; lanes outside the mask touch no memory."""
        b, value = self.builder, to_memory(self.builder, value, dtype, self.target)
        void = ir.VoidType()
        if access is Access.SECOND and self.lanes > 1 and self.target.vector_bytes == 64:
            self._store_second(value, pointer, offset, dtype, mask)
            return
        if access is Access.SECOND:
            access, stride = Access.STRIDED, index(2)
        if access is Access.STRIDED:
            addresses = self._addresses(pointer, self.strided_offsets(offset, stride), dtype.size)
            name = f"llvm.masked.scatter.{mangled(value.type)}.v{self.lanes}p0"
            intrinsic(b, name, void, [value, addresses, ir.Constant(I32, dtype.size), self._mask(mask)])
            return
        address = self._vector_pointer(pointer, offset, value.type)
        if mask is None:
            b.store(value, address, align=dtype.size)
            return
        args = [value, address, ir.Constant(I32, dtype.size), mask]
        intrinsic(b, f"llvm.masked.store.{mangled(value.type)}.p0", void, args)

    def _mask(self, mask: ir.Value | None) -> ir.Value:
        kind = ir.VectorType(ir.IntType(1), self.lanes)
        return mask if mask is not None else ir.Constant(kind, [1] * self.lanes)


def _zeros(kind: ir.VectorType) -> ir.Constant:
    return ir.Constant(kind, None)


def fma(b: ir.IRBuilder, target: Target, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x * y + z, fused where the target has the instruction."""
    if target.fma:
        return intrinsic(b, f"llvm.fma.{mangled(x.type)}", x.type, [x, y, z])
    return b.fadd(b.fmul(x, y), z)


def load_i64(b: ir.IRBuilder, g: ir.Value, k: ir.Value) -> ir.Value:
    """The k-th number of the geometry."""
    return b.load(b.gep(g, [k], inbounds=True), align=8)


@dataclass(frozen=True)
class Lattice:
    """Where the elements of a tile lie: geometry positions of the strides from row to row and from lane to lane.

    Row ``r``, column ``c``, lane ``l`` of operand ``k`` is element ``offsets[k] + r * g[row_at + k] +
    (c * lanes + l) * s`` with ``s`` 0, 1, 2 or ``g[lane_at + k]`` as its access says. ``masked`` tiles have ``count``
    valid lanes in all (over the columns); others have all.
    """

    target: Target
    operands: tuple[Operand, ...]
    rows: int
    cols: int
    lanes: int
    row_at: int
    lane_at: int
    masked: bool

    def places(self, k: int, offsets: Offsets, g: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The NumPy meaning: element numbers (rows, cols, lanes) of operand ``k`` and which of them are valid."""
        lane = np.arange(self.cols * self.lanes)
        steps = {Access.SAME: 0, Access.UNIT: 1, Access.SECOND: 2, Access.STRIDED: int(g[self.lane_at + k])}
        step = steps[self.operands[k].access]
        row = np.arange(self.rows) * (int(g[self.row_at + k]) if self.operands[k].moves else 0)
        places = offsets[k] + row[:, None] + lane * step
        valid = np.broadcast_to(lane < (count if self.masked else self.cols * self.lanes), places.shape)
        shape = (self.rows, self.cols, self.lanes)
        return places.reshape(shape), valid.reshape(shape)

    def get(self, k: int, p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int) -> np.ndarray:
        """The NumPy meaning of loading operand ``k``; the entries of a table."""
        if self.operands[k].access is Access.TABLE:
            return p[k][offsets[k] + np.arange(256)]
        places, valid = self.places(k, offsets, g, count)
        result = np.zeros(places.shape, self.operands[k].dtype.numpy)
        if self.operands[k].access is Access.SAME:
            valid = np.ones_like(valid)
        result[valid] = p[k][places[valid]]
        return result

    def put(
        self, k: int, value: np.ndarray, p: Sequence[np.ndarray], offsets: Offsets, g: np.ndarray, count: int
    ) -> None:
        """The NumPy meaning of storing to operand ``k``."""
        places, valid = self.places(k, offsets, g, count)
        p[k][places[valid]] = np.broadcast_to(value, places.shape)[valid]

    def emitter(self, b: ir.IRBuilder, p: ir.Value, offsets: ir.Value, g: ir.Value, count: ir.Value) -> Accessor:
        """The code side."""
        return Accessor(self, b, p, offsets, g, count)


class Accessor:
    """Emits loads and stores of a Lattice's vectors."""

    def __init__(self, lattice: Lattice, b: ir.IRBuilder, p: ir.Value, offsets: ir.Value, g: ir.Value, count: ir.Value):
        self.lattice, self.b, self.p, self.offsets, self.g = lattice, b, p, offsets, g
        self.vectors = Vectors(b, lattice.target, lattice.lanes)
        self.masks: list[ir.Value | None] = [
            self.vectors.below(b.sub(count, index(c * lattice.lanes))) if lattice.masked else None
            for c in range(lattice.cols)
        ]
        self._cache: dict[tuple[int, int, int], ir.Value] = {}

    def _place(self, k: int, row: int, col: int) -> tuple[ir.Value, ir.Value, ir.Value | None]:
        b, lattice, operand = self.b, self.lattice, self.lattice.operands[k]
        offset = b.extract_value(self.offsets, k)
        if row and operand.moves:
            offset = b.add(offset, b.mul(index(row), load_i64(b, self.g, index(lattice.row_at + k))))
        stride = None
        if operand.access is Access.STRIDED:
            stride = load_i64(b, self.g, index(lattice.lane_at + k))
            offset = b.add(offset, b.mul(stride, index(col * lattice.lanes)))
        elif operand.access is not Access.SAME and col:
            offset = b.add(offset, index(col * lattice.lanes * (2 if operand.access is Access.SECOND else 1)))
        return b.extract_value(self.p, k), offset, stride

    def load(self, k: int, row: int, col: int) -> ir.Value:
        """The vector of operand ``k``, or the address of a table; what does not change with the row or column is loaded
        once."""
        operand = self.lattice.operands[k]
        if operand.access is Access.TABLE:
            return self.vectors.element(self.b.extract_value(self.p, k), self.b.extract_value(self.offsets, k))
        key = (k, row if operand.moves else 0, col if operand.access is not Access.SAME else 0)
        if key not in self._cache:
            pointer, offset, stride = self._place(*key)
            mask = self.masks[key[2]]
            self._cache[key] = self.vectors.load(pointer, offset, operand.access, stride, operand.dtype, mask)
        return self._cache[key]

    def tables(self, operands: Iterable[int]) -> list[ir.Value]:
        """The addresses of the tables among operands; None for others."""
        return [self.load(k, 0, 0) if self.lattice.operands[k].access is Access.TABLE else None for k in operands]

    def store(self, k: int, row: int, col: int, value: ir.Value) -> None:
        """Store a vector to operand ``k``."""
        operand = self.lattice.operands[k]
        pointer, offset, stride = self._place(k, row, col)
        self.vectors.store(value, pointer, offset, operand.access, stride, operand.dtype, self.masks[col])

    def store_bytes(self, k: int, row: int, col: int, value: ir.Value, first: int, count: int) -> None:
        """Store ``count`` elements of a vector of bytes, from ``first`` on, to operand ``k`` from a column's start on;
        its lanes are neighbours and none is masked."""
        b = self.b
        pointer, offset, _ = self._place(k, row, col)
        part = lane_numbers(range(first, first + count))
        value = value if count == value.type.count else b.shuffle_vector(value, value, part)
        b.store(value, b.bitcast(self.vectors.element(pointer, offset), value.type.as_pointer()), align=1)

    def each(self) -> list[tuple[int, int, int]]:
        """(number in the tile, row, column) of every vector."""
        return [(r * self.lattice.cols + c, r, c) for r in range(self.lattice.rows) for c in range(self.lattice.cols)]

"""The vector operations as LLVM IR, with no call of a library function on any target."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from llvmlite import ir

from nnefc.codegen.vecmath.provider import Format, Value

FLOATS = {32: ir.FloatType(), 64: ir.DoubleType()}


class Instructions(Protocol):
    """What is asked of a target, as nnefc.codegen.target.Target has it: which operations are instructions there."""

    @property
    def fma(self) -> bool: ...
    @property
    def rounding(self) -> bool: ...
    @property
    def f16c(self) -> bool: ...
    @property
    def scalef(self) -> bool: ...
    @property
    def indefinite(self) -> int: ...
    @property
    def byte_permutes(self) -> bool: ...
    @property
    def fast_math(self) -> bool: ...


def intrinsic(builder: ir.IRBuilder, name: str, result: ir.Type, operands: Sequence[ir.Value]) -> ir.Value:
    """Call the LLVM intrinsic of this full name, declared in the builder's module when first used."""
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [x.type for x in operands]), name)
    return builder.call(function, operands)


def mangled(vector: ir.VectorType) -> str:
    """A vector type in the name of an intrinsic: ``v16f32``."""
    element = vector.element
    kind = {"float": "f32", "double": "f64"}.get(str(element), str(element))
    return f"v{vector.count}{kind}"


class Splat(ir.Constant):
    """One constant in every lane, written short."""

    def __init__(self, element: ir.Type, lanes: int, scalar: str):
        self.type = ir.VectorType(element, lanes)
        self.constant = f"splat ({element} {scalar})"

    def _get_reference(self) -> str:
        return self.constant


def float_splat(bits: int, lanes: int, x: float) -> ir.Value:
    """``x``, rounded to f32 or f64, in every lane."""
    if bits == 32:
        x = _to_float32(x)
    (code,) = struct.unpack("<Q", struct.pack("<d", x))
    return Splat(FLOATS[bits], lanes, f"0x{code:016X}")


def _to_float32(x: float) -> float:
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return float("inf") if x > 0 else float("-inf")


def int_splat(bits: int, lanes: int, x: int) -> ir.Value:
    """``x`` modulo 2**bits in every lane."""
    x %= 1 << bits
    signed = x - (1 << bits) if bits > 1 and x >> (bits - 1) else x
    return Splat(ir.IntType(bits), lanes, str(signed))


def lane_numbers(numbers: Iterable[int]) -> ir.Constant:
    """Which lanes a shuffle takes: a constant, the same for equal numbers, since writing one down takes long."""
    return _lane_numbers(tuple(numbers))


@functools.cache
def _lane_numbers(numbers: tuple[int, ...]) -> ir.Constant:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))


class LlvmVec:
    """Vec as LLVM IR at the builder's position, on vectors of ``lanes`` elements of ``format``.

    ``lanes`` may exceed the target's registers: LLVM splits. Products and sums are never contracted, so results depend
    on ``target.fma`` and on nothing else.
    """

    def __init__(self, builder: ir.IRBuilder, format: Format, lanes: int, target: Instructions):
        self.builder = builder
        self.format = format
        self.lanes = lanes
        self.fused = target.fma
        self.rounding = target.rounding
        self.scalef = target.scalef and format.bits * lanes in (128, 256, 512)
        self.floats = ir.VectorType(FLOATS[format.bits], lanes)
        self.ints = ir.VectorType(ir.IntType(format.bits), lanes)
        b = builder
        self.add, self.sub, self.mul, self.div, self.neg = b.fadd, b.fsub, b.fmul, b.fdiv, b.fneg
        self.iadd, self.isub, self.imul = b.add, b.sub, b.mul
        self.iand, self.ior, self.ixor = b.and_, b.or_, b.xor
        self.mand, self.mor, self.mxor = b.and_, b.or_, b.xor
        self.ishl, self.ilshr, self.iashr = b.shl, b.lshr, b.ashr
        self.select = b.select

    def const(self, x: float) -> Value:
        return float_splat(self.format.bits, self.lanes, x)

    def iconst(self, x: int) -> Value:
        return int_splat(self.format.bits, self.lanes, x)

    def _float_intrinsic(self, name: str, *operands: Value) -> Value:
        return intrinsic(self.builder, f"llvm.{name}.{mangled(self.floats)}", self.floats, operands)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        return self._float_intrinsic("fma", a, b, c) if self.fused else self.add(self.mul(a, b), c)

    def abs(self, a: Value) -> Value:
        return self._float_intrinsic("fabs", a)

    def sqrt(self, a: Value) -> Value:
        return self._float_intrinsic("sqrt", a)

    def floor(self, a: Value) -> Value:
        return self._float_intrinsic("floor", a) if self.rounding else self._round(a, self.gt, -1.0)

    def ceil(self, a: Value) -> Value:
        return self._float_intrinsic("ceil", a) if self.rounding else self._round(a, self.lt, 1.0)

    def trunc(self, a: Value) -> Value:
        if self.rounding:
            return self._float_intrinsic("trunc", a)
        down = self._round(self.abs(a), self.gt, -1.0)
        return self._with_sign(down, a)

    def round_even(self, a: Value) -> Value:
        """To the nearest integer, halves to the even one."""
        return self._float_intrinsic("rint", a) if self.rounding else self._round(a, None, 0.0)

    def _round(self, a: Value, wrong: Callable[[Value, Value], Value] | None, step: float) -> Value:
        """``a`` to the nearest integer by adding and subtracting 2**fraction, then a ``step`` where it is ``wrong``."""
        size, limit = self.abs(a), self.const(2.0**self.format.fraction)
        near = self._with_sign(self.sub(self.add(size, limit), limit), a)
        moved = near if wrong is None else self.select(wrong(near, a), self.add(near, self.const(step)), near)
        return self.select(self.lt(size, limit), self._with_sign(self.abs(moved), a), a)

    def _with_sign(self, size: Value, a: Value) -> Value:
        sign = self.iand(self.bits(a), self.iconst(self.format.sign))
        return self.from_bits(self.ior(self.bits(size), sign))

    def lt(self, a: Value, b: Value) -> Value:
        return self.builder.fcmp_ordered("<", a, b)

    def le(self, a: Value, b: Value) -> Value:
        return self.builder.fcmp_ordered("<=", a, b)

    def gt(self, a: Value, b: Value) -> Value:
        return self.builder.fcmp_ordered(">", a, b)

    def ge(self, a: Value, b: Value) -> Value:
        return self.builder.fcmp_ordered(">=", a, b)

    def eq(self, a: Value, b: Value) -> Value:
        return self.builder.fcmp_ordered("==", a, b)

    def ne(self, a: Value, b: Value) -> Value:
        return self.builder.fcmp_unordered("!=", a, b)

    def bits(self, a: Value) -> Value:
        return self.builder.bitcast(a, self.ints)

    def from_bits(self, a: Value) -> Value:
        return self.builder.bitcast(a, self.floats)

    def ieq(self, a: Value, b: Value) -> Value:
        return self.builder.icmp_signed("==", a, b)

    def reciprocal(self, a: Value) -> Value:
        """One instruction with AVX-512; else a quotient."""
        if not self.scalef or self.format.bits != 32:
            return self.div(self.const(1.0), a)
        name = f"llvm.x86.avx512.rcp14.ps.{32 * self.lanes}"
        return intrinsic(
            self.builder, name, self.floats, [a, ir.Constant(self.floats, ir.Undefined), self._all_lanes()]
        )

    def _all_lanes(self) -> ir.Constant:
        """The mask of an instruction of AVX-512 on all lanes."""
        return ir.Constant(ir.IntType(max(8, self.lanes)), -1)

    def scale(self, x: Value, k: Value, i: Value) -> Value:
        """One instruction with AVX-512; else two products by normal powers of two, of which the first is exact."""
        if self.scalef:
            return self._scalef(x, k)
        half = self.iashr(i, self.iconst(1))
        return self.mul(self.mul(x, self._power_of_two(half)), self._power_of_two(self.isub(i, half)))

    def _power_of_two(self, i: Value) -> Value:
        shifted = self.ishl(self.iadd(i, self.iconst(self.format.bias)), self.iconst(self.format.fraction))
        return self.from_bits(shifted)

    def _scalef(self, x: Value, k: Value) -> Value:
        width = self.format.bits * self.lanes
        kind = "ps" if self.format.bits == 32 else "pd"
        nearest = [ir.Constant(ir.IntType(32), 4)] if width == 512 else []
        name = f"llvm.x86.avx512.mask.scalef.{kind}.{width}"
        unused = ir.Constant(self.floats, ir.Undefined)
        return intrinsic(self.builder, name, self.floats, [x, k, unused, self._all_lanes(), *nearest])

    def lookup(self, name: str, table: tuple[int, ...], index: Value) -> Value:
        """Lane by lane, from a private constant of the module."""
        b, element = self.builder, self.ints.element
        data = self._constant(f"nnefc.{name}", table)
        result: Any = ir.Constant(self.ints, ir.Undefined)
        zero = ir.Constant(ir.IntType(64), 0)
        for lane in range(self.lanes):
            at = ir.Constant(ir.IntType(32), lane)
            i = b.extract_element(index, at)
            i = i if element.width == 64 else b.zext(i, ir.IntType(64))
            result = b.insert_element(result, b.load(b.gep(data, [zero, i], inbounds=True)), at)
        return result

    def _constant(self, name: str, table: tuple[int, ...]) -> ir.GlobalVariable:
        module = self.builder.module
        found = module.globals.get(name)
        if found is None:
            kind = ir.ArrayType(self.ints.element, len(table))
            found = ir.GlobalVariable(module, kind, name)
            found.linkage, found.global_constant, found.unnamed_addr = "internal", True, True
            found.initializer = ir.Constant(kind, list(table))
        return found

    def where_any(
        self, mask: Value, then: Callable[[], Sequence[Value]], otherwise: Sequence[Value]
    ) -> Sequence[Value]:
        """A branch that is taken where the mask holds in some lane; the builder ends up in a new block."""
        b, truth = self.builder, ir.IntType(1)
        some = intrinsic(b, f"llvm.vector.reduce.or.v{self.lanes}i1", truth, [mask])
        before = b.block
        inside, after = b.append_basic_block("rare"), b.append_basic_block("after")
        b.cbranch(some, inside, after).set_weights([1, 2000])
        b.position_at_end(inside)
        computed = then()
        inside = b.block
        b.branch(after)
        b.position_at_end(after)
        return [self._merge(old, before, new, inside) for old, new in zip(otherwise, computed, strict=True)]

    def _merge(self, old: Value, before: ir.Block, new: Value, inside: ir.Block) -> Value:
        phi = self.builder.phi(old.type)
        phi.add_incoming(old, before)
        phi.add_incoming(new, inside)
        return phi

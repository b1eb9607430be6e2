"""Scalar expressions as LLVM vector IR: what a kernel does with the elements it holds in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from nnefc.codegen import halffloat
from nnefc.codegen.conversions import bounded_conversion
from nnefc.codegen.intervals import Interval, interval_of
from nnefc.codegen.lookup import lookup
from nnefc.codegen.vecmath import FUNCTIONS
from nnefc.codegen.vecmath.fast import FAST
from nnefc.codegen.vecmath.llvm_vec import FLOATS, Instructions, LlvmVec, float_splat, int_splat, intrinsic, mangled
from nnefc.codegen.vecmath.provider import FORMATS
from nnefc.ir import coarse
from nnefc.ir.expr import COMPARISONS, ROUNDING, SHIFTS, UNARY_FLOAT, Expr
from nnefc.ir.types import DType

HALVES = frozenset({DType.F16, DType.BF16})
"""Held in registers as f32, rounded to their own precision after every operation that can need it."""

SYMBOLS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
EXACT = frozenset({"neg", "abs", "min", "max", "select"}) | ROUNDING | COMPARISONS
"""Operations whose results, on numbers of 16 bits, need no rounding."""


def mem_type(dtype: DType) -> ir.Type:
    """The LLVM type of one element in memory: a byte for BOOL, 16 bits for F16 and BF16."""
    if dtype in (DType.F32, DType.F64):
        return FLOATS[dtype.bits]
    return ir.IntType(dtype.bits)


def reg_type(dtype: DType, lanes: int) -> ir.VectorType:
    """The LLVM type of ``lanes`` elements in registers: i1 for BOOL, float for F16 and BF16."""
    if dtype.kind == "f":
        return ir.VectorType(FLOATS[max(32, dtype.bits)], lanes)
    return ir.VectorType(ir.IntType(1 if dtype is DType.BOOL else dtype.bits), lanes)


def to_register(builder: ir.IRBuilder, loaded: ir.Value, dtype: DType, target: Instructions) -> ir.Value:
    """A vector of ``mem_type(dtype)`` as one of ``reg_type(dtype, lanes)``."""
    lanes = loaded.type.count
    if dtype is DType.BOOL:
        return builder.icmp_unsigned("!=", loaded, int_splat(8, lanes, 0))
    if dtype is DType.BF16:
        return halffloat.widen_bf16(builder, loaded)
    return halffloat.widen_f16(builder, loaded, target) if dtype is DType.F16 else loaded


def to_memory(builder: ir.IRBuilder, value: ir.Value, dtype: DType, target: Instructions) -> ir.Value:
    """A vector of ``reg_type(dtype, lanes)`` as one of ``mem_type(dtype)``; BOOL becomes bytes of 0 and 1."""
    if dtype is DType.BOOL:
        return builder.zext(value, ir.VectorType(ir.IntType(8), value.type.count))
    if dtype is DType.BF16:
        return halffloat.narrow_bf16(builder, value)
    return halffloat.narrow_f16(builder, value, target) if dtype is DType.F16 else value


def emit_expr(
    builder: ir.IRBuilder, expr: Expr, args: Sequence[ir.Value], lanes: int, target: Instructions
) -> ir.Value:
    """Emit ``expr`` on registers; ``args[i]``, of ``reg_type``, stands for ``$i``. Returns its value's register.

    Equal subexpressions are emitted once. The meaning is that of nnefc.ir.expr. The builder may end up in a new block.
    Raises TypeError for an operation that its operands' type does not have.
    """
    return _Emitter(builder, args, lanes, target).emit(expr)


class _Emitter:
    """Numbers values: nodes of equal operation, operands, type and constant are one."""

    def __init__(self, builder: ir.IRBuilder, args: Sequence[ir.Value], lanes: int, target: Instructions):
        self.builder = builder
        self.args = args
        self.lanes = lanes
        self.target = target
        self.numbers: dict[int, int] = {}
        self.known: dict[tuple[object, ...], int] = {}
        self.values: list[ir.Value] = []
        self.bounds: list[Interval] = []

    def emit(self, root: Expr) -> ir.Value:
        """Post-order without recursion: expressions may be deep."""
        pending = [root]
        while pending:
            node = pending[-1]
            missing = [a for a in node.args if id(a) not in self.numbers]
            if missing:
                pending += reversed(missing)
                continue
            pending.pop()
            if id(node) not in self.numbers:
                self.numbers[id(node)] = self._number(node)
        return self.values[self.numbers[id(root)]]

    def _number(self, node: Expr) -> int:
        operands = tuple(self.numbers[id(a)] for a in node.args)
        key = (node.op, operands, node.dtype, repr(node.value))
        if key not in self.known:
            values = [self.values[i] for i in operands]
            self.values.append(self._node(node, values))
            self.bounds.append(interval_of(node, [self.bounds[i] for i in operands]))
            self.known[key] = len(self.values) - 1
        return self.known[key]

    def _node(self, node: Expr, x: list[ir.Value]) -> ir.Value:
        if node.op == "arg":
            return self.args[int(node.value or 0)]
        if node.op == "const":
            return self._const(node)
        if node.op == "cast":
            return self._cast(node, x[0])
        if node.op == "select":
            return self.builder.select(*x)
        if node.op == "table":
            found = lookup(self.builder, node, x, self.target)
            return to_register(self.builder, found, node.dtype, self.target)
        return self._operation(node, x)

    def _cast(self, node: Expr, x: ir.Value) -> ir.Value:
        """A conversion; one of f32 to integers by an instruction where the bounds allow it."""
        (source,) = node.args
        if source.dtype is DType.F32 and node.dtype.kind in "iu":
            nearest = self.values[self.numbers[id(source.args[0])]] if source.op == "round_even" else None
            bounds = self.bounds[self.numbers[id(source)]]
            found = bounded_conversion(self.builder, x, nearest, bounds, node.dtype, self.target)
            if found is not None:
                return found
        return emit_cast(self.builder, x, source.dtype, node.dtype, self.target)

    def _const(self, node: Expr) -> ir.Value:
        assert node.value is not None
        if node.dtype.kind == "f":
            return float_splat(max(32, node.dtype.bits), self.lanes, float(node.value))
        return int_splat(1 if node.dtype is DType.BOOL else node.dtype.bits, self.lanes, int(node.value))

    def _operation(self, node: Expr, x: list[ir.Value]) -> ir.Value:
        dtype = node.args[0].dtype
        if node.op in COMPARISONS:
            return self._compare(node.op, dtype, *x)
        if node.op in ("min", "max"):
            return self.builder.select(self._compare("lt" if node.op == "min" else "gt", dtype, *x), *x)
        if dtype.kind == "f":
            wide = DType.F32 if dtype in HALVES else dtype
            y = self._float(node.op, LlvmVec(self.builder, FORMATS[wide], self.lanes, self.target), x)
            return y if node.op in EXACT else emit_cast(self.builder, y, wide, dtype, self.target)
        return self._integer(node.op, dtype, x)

    def _compare(self, op: str, dtype: DType, a: ir.Value, b: ir.Value) -> ir.Value:
        if dtype.kind == "f":
            compare = self.builder.fcmp_unordered if op == "ne" else self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if dtype.kind == "i" else self.builder.icmp_unsigned
        return compare(SYMBOLS[op], a, b)

    def _float(self, op: str, v: LlvmVec, x: list[ir.Value]) -> ir.Value:
        if op in coarse.FUNCTIONS:
            return coarse.FUNCTIONS[op](v, *x)
        if op in UNARY_FLOAT or op == "pow":
            fast = self.target.fast_math and v.format.dtype is DType.F32 and op in FAST
            return (FAST if fast else FUNCTIONS)[op](v, *x)
        if op == "round":
            low = v.floor(x[0])
            return v.add(low, v.select(v.ge(v.sub(x[0], low), v.const(0.5)), v.const(1.0), v.const(0.0)))
        if op in ("neg", "abs", "floor", "ceil", "trunc", "round_even", "add", "sub", "mul", "div"):
            operation: Callable[..., ir.Value] = getattr(v, op)
            return operation(*x)
        raise TypeError(f"{op} of {v.format.dtype}")

    def _integer(self, op: str, dtype: DType, x: list[ir.Value]) -> ir.Value:
        b = self.builder
        if op in ROUNDING:
            return x[0]
        if op in ("and", "or", "xor", "not"):
            return b.not_(x[0]) if op == "not" else getattr(b, op if op == "xor" else op + "_")(*x)
        if dtype is DType.BOOL:
            return self._logical(op, x)
        if op in ("add", "sub", "mul", "neg"):
            return getattr(b, op)(*x)
        if op == "abs":
            zero = int_splat(dtype.bits, self.lanes, 0)
            return b.select(b.icmp_signed("<", x[0], zero), b.neg(x[0]), x[0]) if dtype.kind == "i" else x[0]
        if op == "div":
            return _divide(b, dtype, *x)
        if op == "pow":
            return _integer_power(b, dtype, *x)
        if op in SHIFTS:
            return _shift(b, op, dtype, *x)
        raise TypeError(f"{op} of {dtype}")

    def _logical(self, op: str, x: list[ir.Value]) -> ir.Value:
        """Arithmetic that NumPy has on truth values: a sum is ``or``, a product ``and``."""
        if op in ("add", "mul"):
            return (self.builder.or_ if op == "add" else self.builder.and_)(*x)
        if op == "abs":
            return x[0]
        raise TypeError(f"{op} of bool")


def _divide(b: ir.IRBuilder, dtype: DType, x: ir.Value, y: ir.Value) -> ir.Value:
    """x / y toward zero, 0 for a zero divisor; the one quotient that does not fit wraps.

    Up to 32 bits the quotient is taken in floating point: as the significand holds the dividend's bits and more, it is
    not rounded up to an integer (f32 up to 16 bits, f64 for 32).
    """
    lanes, bits, signed = x.type.count, dtype.bits, dtype.kind == "i"
    zero, one = int_splat(bits, lanes, 0), int_splat(bits, lanes, 1)
    none = b.icmp_unsigned("==", y, zero)
    minus = b.icmp_unsigned("==", y, int_splat(bits, lanes, -1))
    safe = b.select(b.or_(none, minus) if signed else none, one, y)
    if bits == 64:
        quotient = (b.sdiv if signed else b.udiv)(x, safe)
    else:
        real = ir.VectorType(FLOATS[64 if bits == 32 else 32], lanes)
        widen, narrow = (b.sitofp, b.fptosi) if signed else (b.uitofp, b.fptoui)
        quotient = narrow(b.fdiv(widen(x, real), widen(safe, real)), x.type)
    if signed:
        quotient = b.select(minus, b.neg(x), quotient)
    return b.select(none, zero, quotient)


def _shift(b: ir.IRBuilder, op: str, dtype: DType, x: ir.Value, places: ir.Value) -> ir.Value:
    """x shifted by ``places``, which LLVM bounds by the width: beyond it, everything is shifted out."""
    lanes, bits = x.type.count, dtype.bits
    beyond = b.icmp_unsigned(">=", places, int_splat(bits, lanes, bits))
    last = int_splat(bits, lanes, bits - 1)
    if op == "shr" and dtype.kind == "i":
        return b.ashr(x, b.select(beyond, last, places))
    moved = (b.shl if op == "shl" else b.lshr)(x, b.select(beyond, last, places))
    return b.select(beyond, int_splat(bits, lanes, 0), moved)


def _integer_power(b: ir.IRBuilder, dtype: DType, x: ir.Value, y: ir.Value) -> ir.Value:
    """x**y modulo 2**bits, by squaring until no exponent has bits left; truncated for negative exponents."""
    lanes, bits = x.type.count, dtype.bits
    zero, one = int_splat(bits, lanes, 0), int_splat(bits, lanes, 1)
    before = b.block
    loop, after = b.append_basic_block("power"), b.append_basic_block("after")
    b.branch(loop)
    b.position_at_end(loop)
    result, base, exponent = (b.phi(x.type) for _ in range(3))
    odd = b.icmp_unsigned("!=", b.and_(exponent, one), zero)
    steps = (b.select(odd, b.mul(result, base), result), b.mul(base, base), b.lshr(exponent, one))
    for phi, start, step in zip((result, base, exponent), (one, x, y), steps, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(step, loop)
    some = b.icmp_unsigned("!=", steps[2], zero)
    b.cbranch(intrinsic(b, f"llvm.vector.reduce.or.v{lanes}i1", ir.IntType(1), [some]), loop, after)
    b.position_at_end(after)
    if dtype.kind == "u":
        return steps[0]
    unit = b.or_(b.icmp_signed("==", x, one), b.icmp_signed("==", x, int_splat(bits, lanes, -1)))
    return b.select(b.or_(unit, b.icmp_signed(">=", y, zero)), steps[0], zero)


def emit_cast(b: ir.IRBuilder, x: ir.Value, source: DType, target_type: DType, target: Instructions) -> ir.Value:
    """``x``, of ``reg_type(source, lanes)``, converted as nnefc.ir.expr.cast_numpy says."""
    if source is target_type:
        return x
    lanes, result = x.type.count, reg_type(target_type, x.type.count)
    if source is DType.BOOL:
        return b.uitofp(x, result) if target_type.kind == "f" else b.zext(x, result)
    if target_type is DType.BOOL:
        if source.kind == "f":
            return b.fcmp_unordered("!=", x, float_splat(max(32, source.bits), lanes, 0.0))
        return b.icmp_unsigned("!=", x, int_splat(source.bits, lanes, 0))
    if source.kind == "f" and target_type.kind == "f":
        return _float_to_float(b, x, source, target_type, target)
    if source.kind == "f":
        name = f"llvm.fpto{'s' if target_type.kind == 'i' else 'u'}i.sat.{mangled(result)}.{mangled(x.type)}"
        return intrinsic(b, name, result, [x])
    if target_type.kind == "f":
        y = (b.sitofp if source.kind == "i" else b.uitofp)(x, result)
        return emit_cast(b, y, DType.F32, target_type, target) if target_type in HALVES else y
    if target_type.bits <= source.bits:
        return x if target_type.bits == source.bits else b.trunc(x, result)
    return (b.sext if source.kind == "i" else b.zext)(x, result)


def _float_to_float(b: ir.IRBuilder, x: ir.Value, source: DType, goal: DType, target: Instructions) -> ir.Value:
    if goal in HALVES:
        if source is DType.F64:
            x = halffloat.narrow_f64_to_odd(b, x)
        return to_register(b, to_memory(b, x, goal, target), goal, target)
    if goal is DType.F64:
        return b.fpext(x, reg_type(goal, x.type.count))
    return b.fptrunc(x, reg_type(goal, x.type.count)) if source is DType.F64 else x

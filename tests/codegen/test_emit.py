"""Expressions as LLVM IR: each operation on each type against its NumPy meaning, on targets with and without help."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from llvmlite import ir
from skips import skip
from vectorjit import Compiled

from nnefc.codegen.emit import emit_expr, mem_type, reg_type, to_memory, to_register
from nnefc.codegen.objectfile import RUNTIME_SYMBOLS, emit_object, undefined_symbols
from nnefc.codegen.target import Target
from nnefc.ir.expr import COMPARISONS, ROUNDING, SHIFTS, UNARY_FLOAT, Expr, arg, call, cast, const, select
from nnefc.ir.types import DType

TARGETS = ["host", "x86_64-unknown-linux-gnu:x86-64-v2", "x86_64-unknown-linux-gnu:x86-64"]
OTHERS = ["aarch64-unknown-linux-gnu", "riscv64-unknown-linux-gnu:generic-rv64+m+a+f+d+c+v"]
NUMBERS = [t for t in DType if t is not DType.BF16]
"""The types that NumPy has."""

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def operations(dtype: DType) -> Iterator[Expr]:
    """Every operation that the type has and that is exact, on ``$0`` and ``$1``."""
    x, y = arg(0, dtype), arg(1, dtype)
    yield select(call("lt", x, y), y, x)
    for op in sorted(COMPARISONS | {"min", "max"}):
        yield call(op, x, y)
    if dtype is DType.BOOL:
        unary, binary = {"not"}, {"add", "mul", "and", "or", "xor"}
    elif dtype.kind == "f":
        unary, binary = ROUNDING | {"neg", "abs", "sqrt"}, {"add", "sub", "mul", "div"}
    else:
        unary, binary = ROUNDING | {"neg", "abs", "not"}, {"add", "sub", "mul", "div", "and", "or", "xor"} | SHIFTS
    yield from (call(op, x) for op in sorted(unary))
    yield from (call(op, x, y) for op in sorted(binary))


def awkward(dtype: DType, seed: int = 0) -> np.ndarray:
    """Limits, neighbours of limits of other types, halves, and any bit pattern."""
    rng = np.random.default_rng(seed)
    if dtype is DType.BOOL:
        return np.array([False, True])
    patterns = np.frombuffer(rng.bytes(24 * dtype.size), dtype.numpy)
    if dtype.kind in "iu":
        info = np.iinfo(dtype.numpy)
        limits = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 7, 100, info.max // 2, info.max // 3]
        limits += [-1, -2, -3, -7, -100] if dtype.kind == "i" else []
        return np.concatenate([np.array(limits, dtype.numpy), patterns])
    powers = [s * (2.0**k + d) for s in (1, -1) for k in (0, 7, 8, 15, 16, 31, 32, 63, 64) for d in (-1, -0.5, 0, 0.5)]
    close = [0.49999997, 0.49999999999999994, 65504.0, 65519.99, 65520.0, 1e-7, 5.9e-8, 2.98e-8, 6.1e-5, 3.4e38, 1e300]
    values = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -1.5, 2.5, -2.5, *powers, *close, *(-v for v in close)]
    return np.concatenate([np.array(values).astype(dtype.numpy), patterns, rng.normal(0, 10, 24).astype(dtype.numpy)])


def pairs(dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(awkward(dtype, 1), awkward(dtype, 2))
    return x.ravel(), y.ravel()


def assert_same(got: np.ndarray, expected: np.ndarray, message: object) -> None:
    """Equal bits, any NaN equal to any."""
    assert got.dtype == expected.dtype
    unsigned = np.dtype(f"u{got.itemsize}")
    wrong = got.view(unsigned) != expected.view(unsigned)
    if got.dtype.kind == "f":
        wrong &= ~(np.isnan(got) & np.isnan(expected))
    assert not wrong.any(), (message, np.flatnonzero(wrong)[:4], got[wrong][:4], expected[wrong][:4])


def table() -> dict[str, tuple[Expr, list[DType], int]]:
    """All operations and all casts, 64 bytes of lanes at a time."""
    found = {}
    for t in NUMBERS:
        for i, e in enumerate(operations(t)):
            found[f"op_{t}_{i}"] = (e, [t, t], 64 // t.size)
        for u in NUMBERS:
            if u is not t:
                found[f"cast_{t}_{u}"] = (cast(arg(0, t), u), [t], 16)
    return found


@functools.cache
def compiled(text: str) -> Compiled:
    return Compiled(table(), Target.parse(text))


def runnable(text: str) -> Compiled:
    if Target.parse(text).arch != Target.host().arch:
        skip("running code for other CPUs")
    return compiled(text)


def build(expressions: dict[str, tuple[Expr, Sequence[DType], int]]) -> Compiled:
    return Compiled(expressions, Target.host())


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_operations_are_numpys(dtype: DType, text: str) -> None:
    code, (x, y) = runnable(text), pairs(dtype)
    for i, e in enumerate(operations(dtype)):
        assert_same(code(f"op_{dtype}_{i}", x, y), e.evaluate([x, y]), f"{e} on {text}")


@pytest.mark.parametrize("text", TARGETS)
@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_casts_are_numpys(dtype: DType, text: str) -> None:
    code, x = runnable(text), awkward(dtype)
    for other in NUMBERS:
        if other is not dtype:
            expected = cast(arg(0, dtype), other).evaluate([x])
            assert_same(code(f"cast_{dtype}_{other}", x), expected, f"{dtype} to {other} on {text}")


@pytest.mark.parametrize("text", [*TARGETS, *OTHERS])
def test_no_library_function_is_called(text: str) -> None:
    assert set(undefined_symbols(compiled(text).object)) <= RUNTIME_SYMBOLS


def test_every_f16_survives_the_register() -> None:
    """Widened and narrowed on each target, and rounded from f32 and f64 at and beside every tie."""
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    ties = every.astype(np.float64)
    ties = np.concatenate([ties, (ties[:-1] + ties[1:]) / 2])
    beside = np.concatenate([ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])
    for text in TARGETS:
        code = runnable(text)
        assert_same(code("cast_f16_f64", every), every.astype(np.float64), text)
        assert_same(code("cast_f64_f16", beside), beside.astype(np.float16), text)
        narrow = beside.astype(np.float32)
        assert_same(code("cast_f32_f16", narrow), narrow.astype(np.float16), text)


def test_bfloat16_rounds_to_even() -> None:
    code = build({"to": (cast(cast(arg(0, DType.F32), DType.BF16), DType.F32), [DType.F32], 16)})
    x = np.concatenate([awkward(DType.F32), np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF], "u4").view("f")])
    bits = x.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    assert_same(code("to", x), np.where(np.isnan(x), x, rounded), "bf16")


@pytest.mark.parametrize("name", [*sorted(UNARY_FLOAT), "pow"])
def test_functions_of_f16_round_the_f32_result(name: str) -> None:
    inputs = [DType.F16] * (2 if name == "pow" else 1)
    half = call(name, *(arg(i, DType.F16) for i in range(len(inputs))))
    wide = cast(call(name, *(cast(arg(i, DType.F16), DType.F32) for i in range(len(inputs)))), DType.F16)
    code = build({"half": (half, inputs, 16), "wide": (wide, inputs, 16)})
    x = pairs(DType.F16)[: len(inputs)] if name == "pow" else (awkward(DType.F16),)
    assert_same(code("half", *x), code("wide", *x), name)
    near = np.abs(code("half", *x).astype(np.float64) - half.evaluate(list(x)).astype(np.float64))
    finite = np.isfinite(near)
    assert (near[finite] <= np.spacing(np.abs(half.evaluate(list(x))[finite])).astype(np.float64)).all()


@pytest.mark.parametrize("dtype", [DType.I8, DType.I32, DType.I64, DType.U8, DType.U64], ids=str)
def test_integer_powers(dtype: DType) -> None:
    """As NumPy's where the exponent is not negative; else the truncated quotient, 0 for base 0."""
    code = build({"pow": (call("pow", arg(0, dtype), arg(1, dtype)), [dtype, dtype], 8)})
    x, y = pairs(dtype)
    whole = y >= 0
    assert_same(code("pow", x[whole], y[whole]), np.power(x[whole], y[whole]), dtype)
    if dtype.kind == "i":
        x, y = np.meshgrid(np.array([-3, -2, -1, 0, 1, 2, 3], dtype.numpy), np.array([-1, -2, -3, -100], dtype.numpy))
        x, y = x.ravel(), y.ravel()
        expected = np.where(np.abs(x) == 1, np.where(y % 2 == 0, 1, x), 0).astype(dtype.numpy)
        assert_same(code("pow", x, y), expected, dtype)


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 8, 16, 32])
def test_any_number_of_lanes(lanes: int) -> None:
    """Also more than the widest register holds, and a function with a branch in it."""
    table, data = {}, {}
    for t in (DType.F32, DType.F64):
        x, y = arg(0, t), arg(1, t)
        table[str(t)] = (call("add", call("sin", x), call("tanh", y)), [t, t], lanes)
        data[str(t)] = [np.linspace(-5e7, 5e7, 77, dtype=t.numpy), np.linspace(-3, 3, 77, dtype=t.numpy)]
    i, j = arg(0, DType.I64), arg(1, DType.I64)
    table["i64"] = (select(call("lt", i, j), call("div", i, j), call("mul", i, j)), [DType.I64] * 2, lanes)
    data["i64"] = [np.arange(-38, 39), np.arange(77) % 7 - 3]
    code = build(table)
    for name, (expr, _, _) in table.items():
        got, expected = code(name, *data[name]), expr.evaluate(data[name])
        np.testing.assert_allclose(got, expected, rtol=1e-5 if name == "f32" else 1e-13, atol=1e-6)


def drawn(rng: np.random.Generator, dtype: DType, depth: int) -> Expr:
    """A random expression over four arguments of different types, of exact operations."""
    inputs = [DType.F32, DType.I32, DType.BOOL, DType.I64]
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.25:
            return const(int(rng.integers(-3, 4)) if dtype is not DType.BOOL else bool(rng.integers(2)), dtype)
        k = int(rng.integers(4))
        return cast(arg(k, inputs[k]), dtype)
    if dtype is DType.BOOL:
        t = inputs[int(rng.integers(4))]
        return call(str(rng.choice(sorted(COMPARISONS))), drawn(rng, t, depth - 1), drawn(rng, t, depth - 1))
    kind = rng.random()
    if kind < 0.2:
        condition = drawn(rng, DType.BOOL, depth - 1)
        return select(condition, drawn(rng, dtype, depth - 1), drawn(rng, dtype, depth - 1))
    if kind < 0.35:
        return cast(drawn(rng, inputs[int(rng.integers(4))], depth - 1), dtype)
    if kind < 0.5:
        return call(str(rng.choice(["neg", "abs", "floor", "round"])), drawn(rng, dtype, depth - 1))
    op = str(rng.choice(["add", "sub", "mul", "div", "min", "max"]))
    return call(op, drawn(rng, dtype, depth - 1), drawn(rng, dtype, depth - 1))


def test_drawn_expressions() -> None:
    rng = np.random.default_rng(5)
    types = [DType.F32, DType.I32, DType.BOOL, DType.I64]
    table = {f"e{i}": (drawn(rng, types[i % 4], 5), types, 16) for i in range(80)}
    code = build(table)
    x = [np.resize(rng.permutation(awkward(t)), 200) for t in types]
    for name, (expr, _, _) in table.items():
        expected = np.broadcast_to(expr.evaluate(x), 200)
        assert_same(code(name, *x), np.ascontiguousarray(expected), str(expr))


def emitted(expr: Expr, *inputs: DType) -> str:
    """The IR of one function that returns the expression."""
    target, module = Target.host(), ir.Module()
    function = ir.Function(module, ir.FunctionType(reg_type(expr.dtype, 8), [reg_type(t, 8) for t in inputs]), "f")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(emit_expr(builder, expr, function.args, 8, target))
    return str(module)


def test_shared_subexpressions_are_emitted_once() -> None:
    """Whether they are one object or only equal; 0.0 and -0.0 are not equal."""
    x = arg(0, DType.F32)
    shared = x
    for _ in range(40):
        shared = call("mul", shared, shared)
    assert emitted(shared, DType.F32).count("fmul") == 40
    twice = call("add", call("sqrt", x), call("sqrt", arg(0, DType.F32)))
    assert emitted(twice, DType.F32).count("call") == 1
    zeros = call("add", const(0.0, DType.F32), const(-0.0, DType.F32))
    assert "0x8000000000000000" in emitted(zeros) and "0x0000000000000000" in emitted(zeros)


def test_deep_expressions_need_no_stack() -> None:
    deep = arg(0, DType.I32)
    for _ in range(20_000):
        deep = call("add", deep, arg(0, DType.I32))
    assert emitted(deep, DType.I32).count(" add ") == 20_000


def test_types_in_memory_and_registers() -> None:
    memory = {t: str(mem_type(t)) for t in DType}
    registers = {t: str(reg_type(t, 8)) for t in DType}
    assert (memory[DType.BOOL], registers[DType.BOOL]) == ("i8", "<8 x i1>")
    assert (memory[DType.F16], registers[DType.F16]) == ("i16", "<8 x float>")
    assert (memory[DType.BF16], registers[DType.BF16]) == ("i16", "<8 x float>")
    assert (memory[DType.F64], registers[DType.F64]) == ("double", "<8 x double>")
    assert (memory[DType.U16], registers[DType.U16]) == ("i16", "<8 x i16>")


def test_any_byte_but_zero_is_true() -> None:
    """A BOOL byte other than 0 and 1 loads as true and is stored as 1."""
    target = Target.host()
    module = ir.Module()
    kind = ir.VectorType(mem_type(DType.BOOL), 4)
    function = ir.Function(module, ir.FunctionType(kind, [kind]), "f")
    b = ir.IRBuilder(function.append_basic_block())
    loaded = to_register(b, function.args[0], DType.BOOL, target)
    assert loaded.type == reg_type(DType.BOOL, 4)
    b.ret(to_memory(b, loaded, DType.BOOL, target))
    text = str(module)
    assert "icmp ne" in text and "zext" in text
    assert undefined_symbols(emit_object(module, target)) == ()


@pytest.mark.parametrize(
    ("op", "dtype"), [("sub", "bool"), ("neg", "bool"), ("pow", "bool"), ("and", "f32"), ("not", "f64")]
)
def test_operations_that_a_type_lacks(op: str, dtype: str) -> None:
    t = DType(dtype)
    operands = [arg(i, t) for i in range(1 if op in ("neg", "not") else 2)]
    with pytest.raises(TypeError, match=f"{op} of {dtype}"):
        emitted(call(op, *operands), *itertools.repeat(t, len(operands)))

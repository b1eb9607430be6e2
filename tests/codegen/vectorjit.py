"""Expressions compiled to loops over arrays, for tests: one module of functions, loaded into this process."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np
from llvmlite import ir

from nnefc.codegen.emit import emit_expr, mem_type, to_memory, to_register
from nnefc.codegen.objectfile import emit_object, load_objects
from nnefc.codegen.target import Target
from nnefc.ir.expr import Expr
from nnefc.ir.types import DType

I64 = ir.IntType(64)


def add_loop(module: ir.Module, name: str, expr: Expr, inputs: Sequence[DType], lanes: int, target: Target) -> None:
    """A function (input pointers, output pointer, count): ``expr`` on count elements, a multiple of ``lanes``."""
    kinds = [ir.VectorType(mem_type(t), lanes) for t in (*inputs, expr.dtype)]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.PointerType()] * len(kinds) + [I64]), name)
    entry, loop, end = (function.append_basic_block(n) for n in ("entry", "loop", "end"))
    b = ir.IRBuilder(entry)
    b.branch(loop)
    b.position_at_end(loop)
    i = b.phi(I64)
    i.add_incoming(ir.Constant(I64, 0), entry)

    def address(position: int) -> ir.Value:
        return b.gep(function.args[position], [i], source_etype=kinds[position].element)

    values = [to_register(b, b.load(address(p), typ=kinds[p], align=t.size), t, target) for p, t in enumerate(inputs)]
    result = to_memory(b, emit_expr(b, expr, values, lanes, target), expr.dtype, target)
    b.store(result, address(len(inputs)), align=expr.dtype.size)
    following = b.add(i, ir.Constant(I64, lanes))
    i.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, function.args[-1]), loop, end)
    b.position_at_end(end)
    b.ret_void()


class Compiled:
    """Functions of expressions by name; called with arrays of equal length."""

    def __init__(self, expressions: Mapping[str, tuple[Expr, Sequence[DType], int]], target: Target):
        self.expressions = expressions
        module = ir.Module("test")
        for name, (expr, inputs, lanes) in expressions.items():
            add_loop(module, name, expr, inputs, lanes, target)
        self.object = emit_object(module, target)
        self._loaded = None

    def __call__(self, name: str, *arrays: np.ndarray) -> np.ndarray:
        """The result, in the NumPy type of the expression's; the arrays are padded to whole vectors."""
        if self._loaded is None:
            self._loaded = load_objects([self.object])
        expr, inputs, lanes = self.expressions[name]
        count = len(arrays[0])
        padded = -(-count // lanes) * lanes
        buffers = [np.zeros(padded, t.numpy) for t in (*inputs, expr.dtype)]
        for buffer, array in zip(buffers, arrays, strict=False):
            buffer[:count] = array
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(buffers), ctypes.c_int64)
        call(self._loaded.address(name))(*(x.ctypes.data for x in buffers), padded)
        return buffers[-1][:count]

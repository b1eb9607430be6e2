"""Which buffers of a Program hold numbers that codes stand for, and the codes of constant weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnefc.ir.expr import Expr, arg
from nnefc.ir.interpret import Memory, array, run_call
from nnefc.ir.program import Call, Gather, Map, Program, Reduce
from nnefc.ir.types import DType
from nnefc.ir.view import Role, View
from nnefc.ir.window import Window
from nnefc.passes.codes import BYTES, SHIFT, WHOLE, Code, Decoding, bounds, decoding_of
from nnefc.passes.fold import foldable
from nnefc.passes.fuse import is_copy

FLOATS = (DType.F32, DType.F64)


class Coded:
    """What codes tell of a Program's buffers.

    ``codes`` are those of the float buffers that hold decoded bytes, or copies of them, all by the same parameters.
    """

    def __init__(self, program: Program):
        self._known: Memory = dict(program.constants)
        self._constant = foldable(program)
        self._writers: dict[str, list[Call]] = {}
        for c in program.calls:
            for v in c.writes():
                self._writers.setdefault(v.buffer.name, []).append(c)
        self.codes: dict[str, Code] = {}
        left = {name: len(calls) for name, calls in self._writers.items()}
        for c in program.calls:
            for v in c.writes():
                left[v.buffer.name] -= 1
                if not left[v.buffer.name]:
                    self._settle(v)

    # ---- tensors

    def _settle(self, view: View) -> None:
        """Find out what a buffer holds that is whole now."""
        name, writers = view.buffer.name, self._writers[view.buffer.name]
        if view.buffer.role is not Role.TEMP:
            return
        if name in self._constant:
            if view.dtype in BYTES:
                self._known.setdefault(name, np.zeros(view.buffer.size, view.dtype.numpy))
                if not all(self._computed(c) for c in writers):
                    del self._known[name]
            return
        found = [self._code(c) for c in writers if not is_fill(c)]
        first = found[0] if found and view.dtype in FLOATS else None
        if first is None or any(c is None or not c.same_numbers(first) for c in found):
            return
        low, high = min(c.low for c in found if c is not None), max(c.high for c in found if c is not None)
        code = replace(first, low=low, high=high)
        if all(code.code_of(filled(c)) is not None for c in writers if is_fill(c)):
            self.codes[name] = code

    def _computed(self, call: Call) -> bool:
        """Compute constant codes, if what they are made of is known."""
        if not all(v.buffer.name in self._known for v in call.reads()):
            return False
        run_call(call, self._known)
        return True

    def _code(self, call: Call) -> Code | None:
        """The code by which all that a call writes is coded."""
        if isinstance(call, Map) and len(call.exprs) == 1:
            decoding = decoding_of(call.exprs[0])
            if decoding is not None:
                return self._decoded(call, decoding)
        moved = passed_on(call)
        return None if moved is None else self.codes.get(moved.buffer.name)

    def _decoded(self, call: Map, decoding: Decoding) -> Code | None:
        scale = self._number(call, decoding.scale)
        zero = 0 if decoding.zero is None else self._number(call, decoding.zero)
        if scale is None or zero is None or not scale > 0 or not np.isfinite(scale):
            return None
        source = call.inputs[decoding.code]
        if source.dtype not in BYTES:
            return None
        low, high = self._bounds(source)
        shift = SHIFT if source.dtype is DType.I8 else 0
        zero = int(zero) + shift
        held = low + shift, high + shift
        return Code(float(scale), zero, *held, call.outputs[0].dtype) if WHOLE[0] <= zero <= WHOLE[1] else None

    def _bounds(self, source: View) -> tuple[int, int]:
        """The codes that a buffer may hold."""
        if source.dtype is DType.I8:
            return -SHIFT, SHIFT - 1
        limits = [
            bounds(c.exprs[0]) if isinstance(c, Map) and len(c.exprs) == 1 else WHOLE
            for c in self._writers.get(source.buffer.name, ())
        ]
        return (min(low for low, _ in limits), max(high for _, high in limits)) if limits else WHOLE

    def _number(self, call: Map, parameter: Expr) -> float | int | None:
        """A parameter that is one number."""
        leaf = parameter.args[0] if parameter.op == "cast" else parameter
        if leaf.op == "const":
            return leaf.number()
        values = self._values(call.inputs[int(leaf.value or 0)])
        return None if values is None or not (values == values.flat[0]).all() else values.flat[0].item()

    def _values(self, view: View) -> np.ndarray | None:
        """The elements of a constant, those along repeated dimensions once."""
        known = self._known.get(view.buffer.name)
        if known is None or not view.volume:
            return None
        return array(once(view), self._known)

    # ---- weights

    def weights(self, view: View) -> tuple[np.ndarray, np.ndarray] | None:
        """The codes (less their zero points: int16, or int32 of codes of more than 8 bits) and the scales (float32) of
        constant weights, in the view's shape; None where they are no decoded codes."""
        found = self._weights_of(view)
        if found is None:
            return None
        codes, scales = found
        memory = {view.buffer.name: codes}
        values = array(view, memory)
        memory = {view.buffer.name: scales}
        return values, array(view, memory)

    def _weights_of(self, view: View) -> tuple[np.ndarray, np.ndarray] | None:
        """The same for all of a buffer, flat."""
        name, size = view.buffer.name, view.buffer.size
        if name not in self._constant or view.dtype not in FLOATS:
            return None
        codes, scales = np.zeros(size, np.int16), np.ones(size, np.float32)
        for call in self._writers[name]:
            target = call.writes()[0]
            made = self._piece(call)
            if made is None or len(call.writes()) != 1:
                return None
            codes = codes.astype(np.result_type(codes, made[0]), copy=False)
            array(target, {name: codes})[...] = made[0]
            array(target, {name: scales})[...] = made[1]
        return codes, scales

    def _piece(self, call: Call) -> tuple[np.ndarray, np.ndarray] | None:
        """The codes and scales that one call writes."""
        if not isinstance(call, Map) or len(call.exprs) != 1:
            return None
        if is_fill(call):
            return (np.zeros((), np.int16), np.ones(())) if filled(call) == 0 else None
        if is_copy(call):
            return self.weights(call.inputs[0])
        decoding = decoding_of(call.exprs[0])
        if decoding is None or call.inputs[decoding.code].buffer.name not in self._known:
            return None
        source = call.inputs[decoding.code]
        codes = array(source, self._known).astype(np.int16 if source.dtype in BYTES else np.int32)
        zero = 0 if decoding.zero is None else self._parameter(call, decoding.zero)
        scale = self._parameter(call, decoding.scale)
        if zero is None or scale is None or (source.dtype is DType.I32 and np.any(zero)):
            return None
        return (codes - np.asarray(zero, codes.dtype)), np.asarray(scale)

    def _parameter(self, call: Map, parameter: Expr) -> np.ndarray | float | int | None:
        leaf = parameter.args[0] if parameter.op == "cast" else parameter
        return leaf.number() if leaf.op == "const" else self._values(call.inputs[int(leaf.value or 0)])


def is_fill(call: Call) -> bool:
    """Whether a call sets elements to a number."""
    return isinstance(call, Map) and not call.inputs and len(call.exprs) == 1 and call.exprs[0].op == "const"


def filled(call: Call) -> float:
    """The number that ``is_fill`` sets."""
    assert isinstance(call, Map)
    return float(call.exprs[0].number())


def passed_on(call: Call) -> View | None:
    """The tensor whose elements a call passes on, each as it is: copies, elements picked by an index, and the greatest
    or least of several; None for any other call."""
    if isinstance(call, Map):
        return call.inputs[0] if is_copy(call) else None
    if isinstance(call, Gather):
        return call.x
    if isinstance(call, (Reduce, Window)) and call.op in ("max", "min") and call.post is None:
        views = call.inputs if isinstance(call, Reduce) else (call.x,)
        plain = len(views) == 1 and call.expr == arg(0, views[0].dtype)
        weighted = isinstance(call, Window) and call.weights
        return views[0] if plain and not weighted else None
    return None


def once(view: View) -> View:
    """The view with repeated dimensions of extent 1."""
    shape = tuple(n if s else 1 for n, s in zip(view.shape, view.strides, strict=True))
    return View(view.buffer, view.offset, shape, view.strides)

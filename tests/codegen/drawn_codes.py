"""Drawn calls on 8-bit codes: quantization, requantization, residual sums, tables, products of channels that lie
together and of planes, depthwise convolution, pooling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from drawn_calls import Drawer, Memory

from nnefc.ir.expr import Expr, arg, call, cast, const, table
from nnefc.ir.program import Call, Contract, Map, Program, Reduce
from nnefc.ir.types import DType
from nnefc.ir.view import View, dense_strides
from nnefc.ir.window import Slide, Window
from nnefc.passes.lift import lift

F, S, U = DType.F32, DType.I32, DType.U8


class CodeDrawer(Drawer):
    """Draws calls whose elements are codes, over all 256 of them."""

    def values(self, size: int, dtype: DType) -> np.ndarray:
        if dtype.size == 1 and dtype is not DType.BOOL:
            return self.rng.integers(0, 256, size).astype(np.uint8).view(dtype.numpy)
        if dtype is S:
            return self.rng.integers(-3000, 3000, size).astype(np.int32)
        return super().values(size, dtype)

    def zero(self) -> int:
        """A zero point."""
        return int(self.pick(0, 0, 7, 128, 255))

    def coded(self, value: Expr) -> Expr:
        """The code of a float, rounded as ONNX or as NNEF says, clamped."""
        zero, low, high = self.zero(), int(self.pick(0, 0, 3)), int(self.pick(255, 255, 200))
        if self.rng.random() < 0.6:
            whole = cast(call("round_even", value), S)
            return cast(clamped(call("add", whole, const(zero, S)), low, high), U)
        return cast(clamped(call("floor", call("add", value, const(zero + 0.5, F))), low, high), U)

    def scale(self) -> Expr:
        return const(float(self.rng.uniform(0.001, 0.1)), F)

    def value(self, k: int) -> Expr:
        """What the code ``$k`` stands for."""
        centred = call("sub", cast(arg(k, U), S), const(self.zero(), S))
        return call("mul", cast(centred, F), self.scale())

    def map(self) -> Call:
        shape = self.shape(int(self.rng.integers(0, 4)))
        if self.rng.random() < 0.5:
            shape = (*shape[:1], int(self.pick(40, 50, 64, 100, 137, 300)))
        x = arg(0, U)
        expr, types = [
            lambda: (x, [U]),
            lambda: (self.coded(call("mul", arg(0, F), const(40, F))), [F]),
            lambda: (self.value(0), [U]),
            lambda: (self.coded(call("add", self.value(0), self.value(1))), [U, U]),
            lambda: (self.coded(call("mul", call("max", self.value(0), const(0, F)), arg(1, F))), [U, F]),
            lambda: (table(x, self.values(256, U)), [U]),
            lambda: (call("max", x, call("min", arg(1, U), const(100, U))), [U, U]),
            lambda: (self.coded(call("sub", self.value(0), table(arg(1, U), self.values(256, F)))), [U, U]),
        ][int(self.rng.integers(8))]()
        return Map((expr,), tuple(self.view(shape, t, repeat=True) for t in types), (self.view(shape, expr.dtype),))

    def image(self) -> Call:
        """Planes of floats to pixels of codes; and codes turned round."""
        channels, high, wide = int(self.pick(1, 3, 4, 17, 40)), int(self.pick(1, 5, 8)), int(self.pick(7, 16, 33))
        shape, order = (channels, high, wide), (1, 2, 0)
        dtype, expr = (
            (F, self.coded(call("mul", arg(0, F), const(40, F)))) if self.rng.random() < 0.6 else (U, arg(0, U))
        )
        orders = (None, order) if self.rng.random() < 0.6 else (order, None)
        x, out = (self.dense(shape, t, o) for t, o in zip((dtype, U), orders, strict=True))
        return Map((expr,), (x,), (out,))

    def dense(self, shape: Sequence[int], dtype: DType, order: Sequence[int] | None) -> View:
        view = self.view(shape, dtype, dense=True)
        return View(view.buffer, 0, view.shape, dense_strides(shape, order))

    def sums(self, k: int) -> tuple[Expr, list[DType]]:
        """A requantization of the sum ``$0``, with its operands from ``$1`` on: offsets and factors per channel."""
        expr, types = arg(0, S), []
        if self.rng.random() < 0.7:
            expr, types = call("add", expr, arg(1, S)), [S]
        factor = call("mul", arg(len(types) + 1, F), const(0.01, F)) if self.rng.random() < 0.7 else self.scale()
        types += [F] * (factor.op == "mul")
        value = call("mul", cast(expr, F), factor)
        if self.rng.random() < 0.2:
            value, types = call("add", value, self.value(len(types) + 1)), [*types, U]
        code = self.coded(value)
        return (table(code, self.values(256, U)) if self.rng.random() < 0.2 else code), types

    def reduce(self) -> Call:
        kept, reduced = self.shape(int(self.rng.integers(0, 3)), 300), self.shape(int(self.rng.integers(1, 3)), 60)
        x = self.view(kept + reduced, U, repeat=True)
        if self.rng.random() < 0.3:
            return Reduce("max", arg(0, U), None, (x,), (), self.view(kept, U), len(reduced))
        centred = call("sub", cast(arg(0, U), S), const(self.zero(), S))
        post, types = self.sums(1)
        extras = tuple(self.view(kept, t, repeat=True) for t in types)
        return Reduce("sum", centred, post, (x,), extras, self.view(kept, U), len(reduced))

    def product(self) -> Call:
        """A product of matrices or a convolution, in planes or with channels last."""
        g = tuple(int(n) for n in self.rng.choice((1, 2), int(self.rng.integers(0, 2))))
        outputs = int(self.rng.choice((1, 3, 8, 16, 17, 31, 48, 65, 100)))
        if self.rng.random() < 0.4:
            p, r = self.shape(int(self.rng.integers(0, 3)), 200), self.shape(int(self.rng.integers(1, 4)), 200)
            x = self.view(g + p + r, U, repeat=True)
        else:
            channels, high, wide = (int(self.pick(*n)) for n in ((1, 3, 4, 5, 8, 19), (1, 3, 7), (1, 2, 3, 7)))
            rows, pixels, step = int(self.pick(1, 3)), int(self.pick(1, 7, 8, 16, 30)), int(self.pick(1, 2))
            shape = (*g, channels, step * (rows - 1) + high, step * (pixels - 1) + wide)
            order = tuple(range(len(g)))
            order += (len(g), len(g) + 1, len(g) + 2) if self.rng.random() < 0.3 else (len(g) + 1, len(g) + 2, len(g))
            x = self.dense(shape, U, order).window((len(g) + 1, len(g) + 2), (high, wide), (step, step), (1, 1))
            x = x.transpose((*range(len(g)), len(g) + 1, len(g) + 2, len(g), len(g) + 3, len(g) + 4))
            p, r = x.shape[len(g) : len(g) + 2], x.shape[len(g) + 2 :]
        w = self.view((*g, *r, outputs), DType.I8, repeat=True)
        post, extras = self.stored((*g, *p, outputs), int(np.prod(r)))
        out = self.view((*g, *p, outputs), S if post is None else post.dtype)
        return Contract(x, w, post, extras, out, len(g), len(r))

    def planes(self) -> Call:
        """A convolution of planes with few outputs, which lie together or in planes."""
        channels, high, wide = (int(self.pick(*n)) for n in ((1, 3, 4, 8, 12), (1, 3, 5), (1, 2, 3, 4, 5, 7)))
        rows, pixels = int(self.pick(1, 2, 4, 5)), int(self.pick(8, 9, 16, 17, 24, 33, 50))
        outputs = int(self.rng.integers(1, 15))
        line, plane = pixels + wide, (pixels + wide) * (rows + high)
        buffer = self.view((channels * plane + 2,), U, dense=True).buffer
        x = View(buffer, 2, (rows, pixels, channels, high, wide), (line, 1, plane, line, 1))
        w = self.view((channels, high, wide, outputs), DType.I8)
        post, types = (None, []) if self.rng.random() < 0.2 else self.sums(1)
        extras = [self.view((1, 1, outputs), t, dense=True).broadcast_to((rows, pixels, outputs)) for t in types]
        dtype = S if post is None else post.dtype
        out = self.view((rows * pixels * outputs + 5,), dtype, dense=True).buffer
        strides = (pixels * outputs, outputs, 1) if self.rng.random() < 0.6 else (pixels, 1, rows * pixels)
        return Contract(x, w, post, tuple(extras), View(out, 3, (rows, pixels, outputs), strides), 0, 3)

    def stored(self, shape: tuple[int, ...], products: int) -> tuple[Expr | None, tuple[View, ...]]:
        """What is done with sums of so many products: nothing, or scaled, a residual added, and rounded to codes, in
        the form of ``passes.requantize`` or another, or kept as F32; and the operands."""
        kind = str(self.pick("plain", "even", "up", "float", "other"))
        if kind == "plain":
            return None, ()
        if kind == "other":
            post, types = self.sums(1)
            return post, tuple(self.view(shape, t, repeat=True) for t in types)
        bias, *others = (self.view(shape, t, repeat=True) for t in (S, F, U))
        if self.rng.random() < 0.6:
            bias = self.view((1,) * (len(shape) - 1) + shape[-1:], S, dense=True).broadcast_to(shape)
        extras = (bias, *others)
        self.memory[extras[1].buffer.name][:] = self.rng.uniform(0, 1, extras[1].buffer.size) / (100 * products**0.5)
        value = call("mul", cast(call("add", arg(0, S), arg(1, S)), F), arg(2, F))
        value = call("add", value, call("mul", cast(arg(3, U), F), const(0.37, F)))
        low, high, zero = int(self.pick(0, 3)), int(self.pick(15, 255)), self.zero()
        if kind == "even":
            code = cast(call("round_even", call("min", value, const(high - zero, F))), S)
            return cast(call("max", call("add", code, const(zero, S)), const(low, S)), U), extras
        if kind == "up":
            code = cast(call("min", call("add", value, const(zero + 0.5, F)), const(high, F)), S)
            return cast(call("max", code, const(low, S)), U), extras
        return value, extras

    def pixels(self) -> Call:
        """Depthwise convolution and pooling of an image whose channels lie together, or anyhow."""
        channels = int(self.pick(5, 16, 17, 24, 32, 40, 64, 72, 100, 130))
        extents = tuple(int(n) for n in self.rng.choice((1, 2, 3, 5, 7, 8, 9, 14, 19), 2))
        plain = self.rng.random() < 0.7
        size, stride = int(self.pick(3, 3, 5)), int(self.pick(1, 1, 2))
        drawn = [self.slide_over(n) for n in extents]
        if plain and all(n + size // 2 * 2 >= size for n in extents):
            drawn = [(Slide(size, stride, 1, size // 2), size // 2, size // 2)] * 2
        slides = tuple(s for s, _, _ in drawn)
        windows = tuple(
            (n + before + after - (s.size - 1) * s.dilation - 1) // s.stride + 1
            for n, (s, before, after) in zip(extents, drawn, strict=True)
        )
        lay = self.channels_last if plain else self.view
        x, out = lay((channels, *extents), U), lay((channels, *windows), U)
        if self.rng.random() < 0.2:
            return Window("max", arg(0, U), None, x, (), (), out, slides)
        value, weights = call("sub", cast(arg(0, U), S), const(self.zero(), S)), ()
        if self.rng.random() < 0.8:
            weights = (lay((channels, *(s.size for s in slides)), DType.I8),)
            value = call("mul", value, cast(arg(1, DType.I8), S))
        post, types = self.sums(1)
        extras = tuple(self.along(channels, windows, t) for t in types)
        return Window("sum", value, post, x, weights, extras, out, slides)

    def channels_last(self, shape: Sequence[int], dtype: DType) -> View:
        """Pixels of channels, with a gap between lines or pixels now and then."""
        channels, high, wide = shape
        pixel = channels + int(self.pick(0, 0, 3))
        line = wide * pixel + int(self.pick(0, 0, 5))
        view = self.view((high * line + 7,), dtype, dense=True)
        return View(view.buffer, int(self.pick(0, 7)), tuple(shape), (1, line, pixel))

    def along(self, channels: int, windows: Sequence[int], dtype: DType) -> View:
        """What is added to windows: an element per channel, for codes one per window."""
        shape = (channels, *windows)
        if dtype is U:
            return self.channels_last(shape, dtype)
        return self.view((channels, 1, 1), dtype, dense=True).broadcast_to(shape)


def clamped(x: Expr, low: int, high: int) -> Expr:
    return call("min", call("max", x, const(low, x.dtype)), const(high, x.dtype))


FAMILIES = ("map", "image", "reduce", "product", "planes", "pixels")


def draw(family: str, seed: int) -> tuple[Call, Memory]:
    """A call of a family and its memory, the same for the same seed. Tables are operands for every second seed."""
    drawer = CodeDrawer(seed)
    drawn: Call = getattr(drawer, family)()
    if seed % 2 == 0:
        return drawn, drawer.memory
    lifted = lift(Program("drawn", (), (), (), (), (drawn,), {}, {}))
    return lifted.calls[0], {**drawer.memory, **lifted.constants}

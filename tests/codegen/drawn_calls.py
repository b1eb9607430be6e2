"""Drawn calls of every kernel family on awkwardly strided views, and memory to run them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nnefc.ir.expr import Expr, arg, call, cast, const, select
from nnefc.ir.precision import rounded_product, wide_row, wide_sum
from nnefc.ir.program import BoxReduce, Call, Contract, Gather, Map, Reduce, Row
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress, accumulated, combination, neutral, overlaps
from nnefc.ir.types import SUM_TYPES, DType
from nnefc.ir.view import Buffer, Role, View, dense_strides
from nnefc.ir.window import Slide, Window
from nnefc.passes.halves import converted

EXTENTS = (1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33)
Memory = dict[str, np.ndarray]


class Drawer:
    """Draws views and the memory under them."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.memory: Memory = {}

    def pick(self, *choices: object) -> object:
        return choices[int(self.rng.integers(len(choices)))]

    def shape(self, rank: int, most: int = 6000) -> tuple[int, ...]:
        """Awkward extents, of at most ``most`` elements."""
        while True:
            shape = tuple(int(n) for n in self.rng.choice(EXTENTS, rank))
            if np.prod(shape) <= most:
                return shape

    def values(self, size: int, dtype: DType) -> np.ndarray:
        if dtype is DType.BOOL:
            return self.rng.random(size) < 0.5
        if dtype.kind == "f":
            return self.rng.uniform(-3, 3, size).astype(dtype.numpy)
        return self.rng.integers(-9 if dtype.kind == "i" else 0, 10, size).astype(dtype.numpy)

    def view(self, shape: Sequence[int], dtype: DType, repeat: bool = False, dense: bool = False) -> View:
        """A view of new memory: dimensions in any order, gaps, steps, reversals, and repeats if ``repeat``."""
        shape = tuple(shape)
        rank = len(shape)
        order = tuple(int(d) for d in self.rng.permutation(rank)) if self.rng.random() < 0.6 else tuple(range(rank))
        steps = [1 if dense or self.rng.random() < 0.8 else int(self.rng.integers(2, 4)) for _ in shape]
        margins = [0 if dense or self.rng.random() < 0.7 else int(self.rng.integers(1, 4)) for _ in shape]
        same = [repeat and not dense and self.rng.random() < 0.2 for _ in shape]
        extents = [1 if s else n * k + m for n, k, m, s in zip(shape, steps, margins, same, strict=True)]
        strides = list(dense_strides(extents, order))
        size = int(np.prod(extents)) if rank else 1
        offset = 0
        for d in range(rank):
            stride = 0 if same[d] else strides[d] * steps[d]
            if not dense and self.rng.random() < 0.15:
                offset += (shape[d] - 1) * stride
                stride = -stride
            strides[d] = stride
        name = f"b{len(self.memory)}"
        self.memory[name] = self.values(size, dtype)
        return View(Buffer(name, dtype, size, Role.TEMP), offset, shape, tuple(strides))

    # ---- calls

    def map(self) -> Call:
        shape = self.shape(int(self.rng.integers(0, 5)))
        f = self.pick(DType.F32, DType.F32, DType.F64)
        a, b = arg(0, f), arg(1, f)
        kinds: list[tuple[Expr, tuple[DType, ...]]] = [
            (a, (f,)),
            (call("add", call("mul", a, b), const(0.5, f)), (f, f)),
            (select(arg(2, DType.BOOL), a, b), (f, f, DType.BOOL)),
            (call("lt", a, b), (f, f)),
            (cast(a, DType.I64), (f,)),
            (cast(arg(0, DType.I64), f), (DType.I64,)),
            (call("and", arg(0, DType.BOOL), call("not", arg(1, DType.BOOL))), (DType.BOOL, DType.BOOL)),
            (const(1.5, f), ()),
            (arg(0, DType.I64), (DType.I64,)),
            (arg(0, DType.U8), (DType.U8,)),
        ]
        expr, types = kinds[int(self.rng.integers(len(kinds)))]
        inputs = tuple(self.view(shape, t, repeat=True) for t in types)
        return Map((expr,), inputs, (self.view(shape, expr.dtype),))

    def turn(self) -> Call:
        """A map whose first input lies in another order than its output."""
        f = self.pick(DType.F32, DType.F32, DType.F64, DType.F16, DType.BF16, DType.U8, DType.I64, DType.BOOL)
        shape = tuple(int(n) for n in self.rng.choice((3, 16, 17, 31, 33, 50, 300), 2)) + (3,) * int(self.pick(0, 1))
        order = self.rng.permutation(len(shape))
        x = self._dense(shape, f, order)
        out = self._dense(shape, f, order[::-1])
        if f.kind != "f" or self.rng.random() < 0.3:
            return Map((arg(0, f),), (x,), (out,))
        bias = self.view((1, shape[1]), DType.F32).broadcast_to(shape)
        expr = call("add", call("mul", arg(1, f), const(2, f)), cast(arg(0, DType.F32), f))
        return Map((expr,), (bias, x), (out,))

    def _dense(self, shape: Sequence[int], dtype: DType, order: Sequence[int]) -> View:
        view = self.view(shape, dtype, dense=True)
        return replace(view, offset=0, strides=dense_strides(shape, tuple(int(d) for d in order)))

    def reduce(self) -> Call:
        f = self.pick(DType.F32, DType.F32, DType.F64)
        kept, reduced = self.shape(int(self.rng.integers(0, 4)), 400), self.shape(int(self.rng.integers(1, 4)), 60)
        op = str(self.pick("sum", "sum", "max", "min", "all", "any", "argmax", "argmin"))
        dtype = DType.BOOL if op in ("all", "any") else f
        expr, types = arg(0, dtype), [dtype]
        if op == "sum" and self.rng.random() < 0.6:
            expr, types = call("mul", expr, arg(1, dtype)), [dtype, dtype]
        inputs = tuple(self.view(kept + reduced, t, repeat=True) for t in types)
        post, extras = None, ()
        if op in ("sum", "max") and self.rng.random() < 0.5:
            post = call("max", call("add", arg(0, dtype), arg(1, dtype)), const(0, dtype))
            extras = (self.view(kept, dtype, repeat=True),)
        out = DType.I64 if op.startswith("arg") else dtype
        return Reduce(op, expr, post, inputs, extras, self.view(kept, out), len(reduced))

    def window(self) -> Call:
        """Pooling or depthwise convolution: the inputs' windows overlap."""
        channels, high, wide = int(self.pick(1, 3, 16, 17, 40)), int(self.pick(5, 8, 13)), int(self.pick(6, 9, 20))
        x = self.view((channels, high, wide), DType.F32)
        stride, dilation = int(self.pick(1, 1, 2)), int(self.pick(1, 1, 2))
        x = x.window((1, 2), (3, 2), (stride, stride), (dilation, 1))
        op = str(self.pick("max", "sum"))
        inputs, expr = [x], arg(0, DType.F32)
        if op == "sum":
            w = self.view((channels, 3, 2), DType.F32)
            inputs.append(View(w.buffer, w.offset, x.shape, (w.strides[0], 0, 0, *w.strides[1:])))
            expr = call("mul", expr, arg(1, DType.F32))
        order = tuple(int(d) for d in self.pick((1, 2, 0), (0, 1, 2)))
        kept = x.shape[:3]
        out = self.view(kept, DType.F32, dense=True)
        out = replace(out, strides=dense_strides(kept, order))
        return Reduce(op, expr, None, tuple(inputs), (), out, 2)

    def slide(self) -> Call:
        """Pooling or depthwise convolution whose windows reach outside."""
        f = self.pick(DType.F32, DType.F32, DType.F32, DType.F64, DType.I32)
        kept = tuple(int(n) for n in self.rng.choice((1, 2, 7, 16, 17, 40), int(self.rng.integers(0, 3))))
        rank = int(self.pick(1, 2, 2, 2, 3))
        extents = tuple(int(n) for n in self.rng.choice((1, 2, 3, 5, 8, 9, 14, 21), rank))
        if np.prod(kept + extents) > 6000:
            return self.slide()
        slides, windows = [], []
        for n in extents:
            s, before, after = self.slide_over(n)
            slides.append(s)
            windows.append((n + before + after - (s.size - 1) * s.dilation - 1) // s.stride + 1)
        x = self.view(kept + extents, f, repeat=True)
        op = str(self.pick("max", "sum", "sum", "min"))
        weights: tuple[View, ...] = ()
        expr, post, extras = arg(0, f), None, ()
        if op == "sum" and self.rng.random() < 0.7:
            weights = (self.view(kept + tuple(s.size for s in slides), f, repeat=True),)
            expr = call("mul", expr, arg(1, f))
        shape = (*kept, *windows)
        if op == "sum" and self.rng.random() < 0.5:
            post = call("max", call("add", arg(0, f), arg(1, f)), const(0, f))
            extras = (self.view(shape, f, repeat=True),)
        return Window(op, expr, post, x, weights, extras, self.view(shape, f), tuple(slides))

    def slide_over(self, extent: int) -> tuple[Slide, int, int]:
        """Windows over an extent, and how far they may reach before and after it (negative: what they leave out)."""
        while True:
            size, stride, dilation = int(self.pick(1, 2, 3, 3, 5)), int(self.pick(1, 1, 2, 3)), int(self.pick(1, 1, 2))
            before, after = (int(self.pick(0, 1, 2, 5, -1)) for _ in range(2))
            if extent + before + after > (size - 1) * dilation:
                return Slide(size, stride, dilation, before), before, after

    def row(self) -> Call:
        f = self.pick(DType.F32, DType.F64)
        kept, reduced = self.shape(int(self.rng.integers(0, 3)), 100), self.shape(int(self.rng.integers(1, 3)), 100)
        x, top = arg(0, f), arg(1, f)
        shifted = call("exp", call("sub", x, top))
        stages = (("max", x), ("sum", shifted))
        expr = call("div", shifted, arg(2, f))
        if self.rng.random() < 0.4:
            centred = call("sub", x, call("mul", top, const(1 / float(np.prod(reduced)), f)))
            stages = (("sum", x), ("sum", call("mul", centred, centred)))
            expr = call("div", centred, call("add", call("sqrt", arg(2, f)), const(0.5, f)))
        view = self.view(kept + reduced, f)
        return Row(stages, expr, (view,), self.view(kept + reduced, f), len(reduced))

    def narrow(self) -> Call:
        """Contractions of F32 whose weights are in half precision."""
        made = self.few if self.rng.random() < 0.4 else self.contract
        return made(DType.F32, self.pick(DType.F16, DType.BF16))

    def pairs(self) -> Call:
        """Contractions of BF16, most of them over an even number of neighbours."""
        if self.rng.random() < 0.3:
            return (self.few if self.rng.random() < 0.3 else self.contract)(DType.BF16, DType.BF16)
        p, outputs = self.shape(int(self.rng.integers(0, 3)), 300), int(self.rng.choice((1, 3, 8, 17, 31, 48, 65, 100)))
        r = (*self.shape(int(self.rng.integers(0, 2))), int(self.pick(2, 6, 16, 30)))
        x = self.view(p + r, DType.BF16, dense=True)
        x = replace(x, offset=0, strides=dense_strides(x.shape))
        w, out = self.view((*r, outputs), DType.BF16), self.view((*p, outputs), self.pick(DType.F32, DType.BF16))
        post = call("add", arg(0, DType.F32), cast(arg(1, DType.BF16), DType.F32))
        extras = (self.view((*p, outputs), DType.BF16, repeat=True),)
        return Contract(x, w, cast(post, out.dtype), extras, out, 0, len(r))

    def contract(self, x_type: DType | None = None, w_type: DType | None = None) -> Call:
        f = x_type or self.pick(DType.F32, DType.F32, DType.F64)
        g = tuple(int(n) for n in self.rng.choice((1, 2, 3), int(self.rng.integers(0, 3))))
        p = self.shape(int(self.rng.integers(0, 3)), 300)
        r = self.shape(int(self.rng.integers(1, 4)), 60)
        outputs = int(self.rng.choice((1, 3, 8, 16, 17, 31, 48, 65, 100)))
        x, w = self.view(g + p + r, f, repeat=True), self.view((*g, *r, outputs), w_type or f, repeat=True)
        f = SUM_TYPES[x.dtype, w.dtype]
        post, extras = None, ()
        if self.rng.random() < 0.5:
            post = call("max", call("add", arg(0, f), arg(1, f)), const(0, f))
            extras = (self.view((*g, *p, outputs), f, repeat=True),)
        out = self.view((*g, *p, outputs), f)
        return Contract(x, w, post, extras, out, len(g), len(r))

    def long(self) -> Call:
        """Few rows and outputs of long sums."""
        f = self.pick(DType.F32, DType.F32, DType.F64)
        p = tuple(int(self.pick(1, 2, 3)) for _ in range(int(self.rng.integers(0, 2))))
        r = (int(self.pick(1, 3)), int(self.pick(16, 17, 33, 50, 70)))
        outputs = int(self.pick(1, 3, 8, 10, 16, 17, 24, 31, 33))
        x, w = self.view(p + r, f), self.view((*r, outputs), f)
        extras = (self.view((*p, outputs), f),)
        return Contract(x, w, call("add", arg(0, f), arg(1, f)), extras, self.view((*p, outputs), f), 0, len(r))

    def few(self, x_type: DType | None = None, w_type: DType | None = None) -> Call:
        """A convolution of planes with few outputs, which lie together or in planes."""
        f = x_type or self.pick(DType.F32, DType.F32, DType.F64)
        channels, high, wide = (int(self.pick(*choices)) for choices in ((1, 3), (1, 3, 5), (1, 3, 5)))
        rows, pixels, outputs = (
            int(self.pick(1, 2, 4, 5)),
            int(self.pick(8, 9, 16, 17, 24, 33, 50)),
            int(self.rng.integers(1, 15)),
        )
        line, plane = pixels + wide + 1, (pixels + wide + 1) * (rows + high)
        x = self.view((channels * plane + 3,), f, dense=True)
        windows = (plane, line, 1)
        x = View(x.buffer, 2, (rows, pixels, channels, high, wide), (line, 1, *windows))
        w = self.view((channels, high, wide, outputs), w_type or f)
        f = SUM_TYPES[x.dtype, w.dtype]
        post, extras = None, ()
        if self.rng.random() < 0.7:
            post = call("max", call("add", arg(0, f), arg(1, f)), const(0, f))
            bias = self.view((outputs,), f, dense=True)
            extras = (View(bias.buffer, bias.offset, (rows, pixels, outputs), (0, 0, 1)),)
        out = self.view((rows * pixels * outputs + 5,), f, dense=True)
        strides = (pixels * outputs, outputs, 1) if self.rng.random() < 0.6 else (pixels, 1, rows * pixels)
        return Contract(x, w, post, extras, View(out.buffer, 3, (rows, pixels, outputs), strides), 0, 3)

    def half(self) -> Call:
        """The first four families on half precision: in memory only, computed in F32."""
        f = self.pick(DType.F16, DType.BF16)
        kept, reduced = self.shape(int(self.rng.integers(0, 3)), 100), self.shape(int(self.rng.integers(1, 3)), 60)
        x, y = arg(0, f), arg(1, f)
        family = str(self.pick("map", "reduce", "row", "contract"))
        if family == "map":
            expr = select(call("lt", x, y), call("add", call("exp", x), y), cast(arg(2, DType.F32), f))
            inputs = tuple(self.view(kept, t, repeat=True) for t in (f, f, DType.F32))
            return Map((expr,), inputs, (self.view(kept, f),))
        if family == "row":
            shifted = call("exp", call("sub", x, y))
            stages, expr = wide_row((("max", x), ("sum", shifted)), call("div", shifted, arg(2, f)), 1)
            return Row(stages, expr, (self.view(kept + reduced, f),), self.view(kept + reduced, f), len(reduced))
        if family == "reduce":
            expr, post = wide_sum(call("mul", x, y), call("sub", x, y))
            inputs = tuple(self.view(kept + reduced, f, repeat=True) for _ in range(2))
            return Reduce("sum", expr, post, inputs, (self.view(kept, f),), self.view(kept, f), len(reduced))
        outputs = int(self.rng.choice((1, 8, 17, 31)))
        left, right = self.view(kept + reduced, DType.F32), self.view((*reduced, outputs), DType.F32)
        extra, out = self.view((*kept, outputs), f), self.view((*kept, outputs), f)
        return Contract(left, right, rounded_product(f, call("add", x, y)), (extra,), out, 0, len(reduced))

    def held(self) -> Call:
        """A call of F32 some of whose operands lie in memory as F16."""
        kind = str(self.pick("map", "reduce", "window", "slide", "row", "contract", "few", "long"))
        made: Call = getattr(self, kind)()
        floats = dict.fromkeys(v.buffer.name for v in made.writes() + made.reads() if v.dtype is DType.F32)
        names = {name for name in floats if self.rng.random() < 0.7}
        for name in names:
            self.memory[name] = self.memory[name].astype(DType.F16.numpy)
        return converted(made, names, DType.F16)

    def gather(self) -> Call:
        before, after = self.shape(int(self.rng.integers(0, 3)), 60), self.shape(int(self.rng.integers(0, 3)), 60)
        index_shape, n = self.shape(int(self.rng.integers(0, 3)), 60), int(self.rng.choice(EXTENTS))
        dtype = self.pick(DType.F32, DType.I64, DType.BOOL)
        x = self.view((*before, n, *after), dtype, repeat=True)
        index = self.view(index_shape, DType.I64)
        check = self._fill_index(index, n)
        return Gather(x, index, self.view((*before, *index_shape, *after), dtype), len(before), check)

    def pick_rows(self) -> Call:
        """A gather with dimensions that tensor and indices share."""
        batch, before, after = self.shape(int(self.rng.integers(1, 3)), 60), self.shape(1, 9), self.shape(1, 9)
        index_shape, n = self.shape(int(self.rng.integers(0, 3)), 60), int(self.rng.choice(EXTENTS))
        x, index = (
            self.view((*batch, *before, n, *after), DType.F32),
            self.view((*batch, *index_shape), DType.I64, True),
        )
        check = self._fill_index(index, n)
        out = self.view((*batch, *before, *index_shape, *after), DType.F32)
        return Gather(x, index, out, len(batch) + 1, check, len(batch))

    def _fill_index(self, index: View, n: int) -> bool:
        """Indices on an extent, some outside unless they are to be checked, which is returned."""
        check = bool(self.rng.random() < 0.5)
        low, high = (0, n) if check else (-5, n + 5)
        self.memory[index.buffer.name][:] = self.rng.integers(low, high, index.buffer.size)
        return check

    def scatter(self) -> Call:
        dtype = self.pick(DType.F32, DType.F64, DType.F16, DType.BF16, DType.I32, DType.U8)
        kept, each = self.shape(int(self.rng.integers(0, 3)), 300), self.shape(int(self.rng.integers(0, 3)), 60)
        n, shared = int(self.rng.choice(EXTENTS)), self.rng.random() < 0.5
        index = self.view(each if shared else (*kept, *each), DType.I64, repeat=True)
        check = self._fill_index(index, n)
        if shared:
            index = replace(index, shape=(*kept, *each), strides=((0,) * len(kept) + index.strides))
        expr = combination(str(self.pick("none", "add", "mul", "max", "min")), dtype)
        updates, output = self.view((*kept, *each), dtype, repeat=True), self.view((*kept, n), dtype)
        if dtype.kind == "f":
            # Products of whole numbers are exact in any order.
            for v in (updates, output):
                self.memory[v.buffer.name][:] = self.rng.integers(-1, 2, v.buffer.size)
        return Scatter(expr, index, updates, output, len(each), check)

    def scan(self) -> Call:
        dtype = self.pick(DType.F32, DType.F64, DType.F16, DType.BF16, DType.I64, DType.I8)
        name = str(self.pick("add", "mul", "max", "min"))
        shape = self.shape(int(self.rng.integers(1, 4)), 3000)
        x, output, step = self.view(shape, dtype, repeat=True), self.view(shape, dtype), accumulated(name, dtype)
        if dtype.kind == "f":
            self.memory[x.buffer.name][:] = self.rng.integers(-2, 3, x.buffer.size) / 2
        return Scan(step, neutral(name, step.dtype), x, output, bool(self.rng.random() < 0.5))

    def sort(self) -> Call:
        dtype = self.pick(DType.F32, DType.F64, DType.F16, DType.BF16, DType.I32, DType.U8, DType.BOOL)
        shape = self.shape(int(self.rng.integers(1, 4)), 1000)
        k = int(self.rng.integers(1, shape[-1] + 1))
        x = self.view(shape, dtype)
        if dtype.kind == "f":
            values = self.memory[x.buffer.name]
            values[:] = np.where(self.rng.random(values.size) < 0.1, np.nan, np.round(values))
        return Sort(
            x, self.view((*shape[:-1], k), dtype), self.view((*shape[:-1], k), DType.I64), self.rng.random() < 0.5
        )

    def suppress(self) -> Call:
        dtype = self.pick(DType.F32, DType.F64)
        kept, count = self.shape(int(self.rng.integers(0, 3)), 6), int(self.pick(1, 2, 9, 33))
        boxes, scores = self.view((*kept, count, 4), dtype), self.view((*kept, count), dtype)
        values = self.memory[scores.buffer.name]
        values[:] = np.where(self.rng.random(values.size) < 0.1, np.nan, np.round(values, 1))
        picked = self.view((*kept, int(self.pick(1, 3, 40))), DType.I64)
        overlap = overlaps(dtype, float(self.pick(0.0, 0.3, 1.0)), bool(self.rng.random() < 0.3))
        outputs = self.view(kept, DType.I64), self.view((*kept, count), DType.I64)
        return Suppress(boxes, scores, picked, *outputs, overlap, float(self.pick(-9.0, 0.0, 0.5)))

    def box(self) -> Call:
        boxes, high, wide = int(self.pick(1, 3)), int(self.pick(1, 2)), int(self.pick(1, 3))
        x = self.view((2, int(self.pick(1, 5, 16, 20)), 6, 7), DType.F32)
        batch = self.view((boxes,), DType.I64)
        rows, columns = self.view((boxes, high, 2), DType.I64), self.view((boxes, wide, 2), DType.I64)
        for v, low, top in ((batch, -1, 4), (rows, -2, 9), (columns, -2, 9)):
            self.memory[v.buffer.name][:] = self.rng.integers(low, top, v.buffer.size)
        out = self.view((boxes, x.shape[1], high, wide), DType.F32)
        return BoxReduce(str(self.pick("max", "mean")), x, batch, rows, columns, out)


FAMILIES = (
    *(
        "map",
        "turn",
        "reduce",
        "window",
        "slide",
        "row",
        "contract",
        "few",
        "long",
        "narrow",
        "pairs",
        "half",
        "held",
        "gather",
        "pick_rows",
        "box",
    ),
    *("scatter", "scan", "sort", "suppress"),
)


def draw(family: str, seed: int) -> tuple[Call, Memory]:
    """A call of a family and its memory, the same for the same seed."""
    drawer = Drawer(seed)
    make: Callable[[], Call] = getattr(drawer, family)
    return make(), drawer.memory

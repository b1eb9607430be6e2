"""Matrix products of ONNX, Einsum and determinants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnefc.formats.onnx.importers.reduce import without
from nnefc.formats.onnx.registry import Imported, Node, importer
from nnefc.formats.onnx.scope import Scope

# ---- products


@importer("MatMul")
def _matmul(s: Scope, n: Node) -> Sequence[Imported]:
    return [product(s, n.need(0), n.need(1))]


def product(s: Scope, a: Any, b: Any) -> Any:
    """NumPy's matrix product: vectors are rows on the left and columns on the right, batch dimensions broadcast."""
    ranks = s.rank(a), s.rank(b)
    if 0 in ranks:
        raise s.invalid("an operand has no dimension")
    left = s.reshape(a, (1, *s.shape(a))) if ranks[0] == 1 else a
    right = s.reshape(b, (*s.shape(b), 1)) if ranks[1] == 1 else b
    shape = s.shape(left)
    if s.rank(right) == 2 and len(shape) > 2:
        # A common matrix on the right: one product of all rows.
        rows = s.op("matmul", [s.reshape(left, (math.prod(shape[:-1]), shape[-1])), right])
        result = s.reshape(rows, (*shape[:-1], s.shape(right)[-1]))
    else:
        result = s.op("matmul", s.broadcast([left, right]))
    drop = ([s.rank(result) - 2] if ranks[0] == 1 else []) + ([s.rank(result) - 1] if ranks[1] == 1 else [])
    return without(s, result, drop) if drop else result


@importer("Gemm")
def _gemm(s: Scope, n: Node) -> Sequence[Imported]:
    """alpha A B + beta C, where C broadcasts; ``linear`` where C is a row that is added as it is."""
    a, b, c = n.need(0), n.need(1), n.input(2)
    alpha, beta = n.attr("alpha", 1.0), n.attr("beta", 1.0)
    turned = {"transposeA": bool(n.attr("transA", 0)), "transposeB": bool(n.attr("transB", 0))}
    if alpha == 1.0 and turned == {"transposeA": False, "transposeB": True} and _is_row(s, c, s.shape(b)[0], beta):
        return [s.op("linear", [a, b, *([] if c is None else [s.reshape(c, (1, s.shape(b)[0]))])])]
    result = scaled(s, s.op("matmul", [a, b], **turned), alpha)
    if c is None or beta == 0.0:
        return [result]
    return [s.op("add", s.broadcast([result, scaled(s, c, beta)]))]


def _is_row(s: Scope, c: Any, columns: int, beta: float) -> bool:
    return c is None or (beta == 1.0 and s.shape(c) in ((columns,), (1, columns)))


def scaled(s: Scope, x: Any, factor: float) -> Any:
    """A tensor times a number; of integers, a whole one."""
    if factor == 1.0:
        return x
    if s.dtype(x).kind != "f" and factor != int(factor):
        raise s.unsupported(f"integers times {factor}")
    return s.op("mul", [x, factor])


# ---- Einsum


@importer("Einsum")
def _einsum(s: Scope, n: Node) -> Sequence[Imported]:
    """Operands are multiplied from the left, each pair by one matrix product."""
    terms, output = _equation(s, str(n.need_attr("equation")), [s.rank(x) for x in n.inputs])
    sizes: dict[str, int] = {}
    for x, term in zip(n.inputs, terms, strict=True):
        for letter, extent in zip(term, s.shape(x), strict=True):
            if extent != 1 or letter not in sizes:
                if sizes.get(letter, 1) not in (1, extent):
                    raise s.invalid(f"the dimension {letter!r} has the extents {sizes[letter]} and {extent}")
                sizes[letter] = extent
    operands = [_simple(s, x, term) for x, term in zip(n.inputs, terms, strict=True)]
    while len(operands) > 1:
        rest = "".join(t for _, t in operands[2:]) + output
        operands[:2] = [_pair(s, operands[0], operands[1], rest)]
    x, term = operands[0]
    x, term = _summed(s, x, term, [t for t in term if t not in output])
    x = s.transpose(x, [term.index(t) for t in output])
    return [x]


def _equation(s: Scope, equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; an ellipsis becomes capital Greek letters, the last ones first
    aligned."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise s.invalid(f"the equation {equation!r} has {len(terms)} operands; {len(ranks)} are given")
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    if any(h < 0 or (h > 0 and "..." not in term) for h, term in zip(hidden, terms, strict=True)):
        raise s.invalid(f"the equation {equation!r} does not fit operands of {list(ranks)} dimensions")
    most = max(hidden, default=0)
    names = "".join(chr(0x391 + i) for i in range(most))
    full = [term.replace("...", names[most - h :] if h else "") for term, h in zip(terms, hidden, strict=True)]
    if not arrow:
        letters = sorted({t for t in left if t.isalpha() and left.count(t) == 1})
        right = ("..." if most else "") + "".join(letters)
    output = right.replace("...", names)
    known = set("".join(full))
    if len(set(output)) != len(output) or not set(output) <= known or not all(t.isalpha() for t in known):
        raise s.invalid(f"the equation {equation!r} is not valid")
    return full, output


Labelled = tuple[Any, str]


def _simple(s: Scope, x: Any, term: str) -> Labelled:
    """An operand in which no letter is repeated: a diagonal is picked by a mask and a sum."""
    for letter in term:
        while term.count(letter) > 1:
            first, second = term.index(letter), term.rindex(letter)
            extent = s.shape(x)[first]
            places = np.arange(extent)
            shape = [extent if i in (first, second) else 1 for i in range(len(term))]
            mask = (places[:, None] == places[None, :]).reshape(shape)
            x = s.op("sum_reduce", [s.op("select", [mask, x, 0])], axes=[second])
            x, term = without(s, x, [second]), term[:second] + term[second + 1 :]
    return x, term


def _summed(s: Scope, x: Any, term: str, letters: Sequence[str]) -> Labelled:
    axes = [term.index(t) for t in letters]
    if not axes:
        return x, term
    kept = "".join(t for t in term if t not in letters)
    return without(s, s.op("sum_reduce", [x], axes=axes), axes), kept


def _pair(s: Scope, first: Labelled, second: Labelled, rest: str) -> Labelled:
    """The product of two operands, summed over the letters that nothing else has."""
    (x, a), (y, b) = first, second
    x, a = _summed(s, x, a, [t for t in a if t not in b and t not in rest])
    y, b = _summed(s, y, b, [t for t in b if t not in a and t not in rest])
    batch = [t for t in a if t in b and t in rest]
    inner = [t for t in a if t in b and t not in rest]
    rows, columns = [t for t in a if t not in b], [t for t in b if t not in a]
    if not inner:
        letters = [*batch, *rows, *columns]
        left, right = (
            s.reshape(s.transpose(v, [t.index(c) for c in letters if c in t]), _extents(s, v, t, letters))
            for v, t in ((x, a), (y, b))
        )
        return s.op("mul", [left, right]), "".join(letters)
    x, y = _unrepeated(s, x, a, y, b, inner)
    sizes = {t: max(p, 1) for v, term in ((x, a), (y, b)) for t, p in zip(term, s.shape(v), strict=True) if t in rest}
    left = s.transpose(x, [a.index(t) for t in (*batch, *rows, *inner)])
    right = s.transpose(y, [b.index(t) for t in (*batch, *inner, *columns)])
    shape_x, shape_y = s.shape(left), s.shape(right)
    n, m, k = len(batch), len(rows), len(inner)
    left = s.reshape(left, (*shape_x[:n], math.prod(shape_x[n : n + m]), math.prod(shape_x[n + m :])))
    right = s.reshape(right, (*shape_y[:n], math.prod(shape_y[n : n + k]), math.prod(shape_y[n + k :])))
    result = s.op("matmul", [left, right])
    return s.reshape(result, (*s.shape(result)[:n], *(sizes[t] for t in (*rows, *columns)))), "".join(
        (*batch, *rows, *columns)
    )


def _extents(s: Scope, x: Any, term: str, letters: Sequence[str]) -> list[int]:
    """The extents of the letters, 1 for those that the operand does not have."""
    return [s.shape(x)[term.index(t)] if t in term else 1 for t in letters]


def _unrepeated(s: Scope, x: Any, a: str, y: Any, b: str, inner: Sequence[str]) -> tuple[Any, Any]:
    """Both operands, an extent of 1 of a letter that is summed repeated to that of the other."""
    results = []
    for (v, term), (other, theirs) in (((x, a), (y, b)), ((y, b), (x, a))):
        repeats = [
            s.shape(other)[theirs.index(t)] if t in inner and extent == 1 else 1
            for t, extent in zip(term, s.shape(v), strict=True)
        ]
        results.append(v if all(r == 1 for r in repeats) else s.op("tile", [v], repeats=repeats))
    return results[0], results[1]


# ---- determinants


@importer("Det")
def _det(s: Scope, n: Node) -> Sequence[Imported]:
    """By elimination with a pivot from the rows below, unrolled: for small matrices."""
    x = n.need(0)
    shape = s.shape(x)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise s.invalid(f"the input has the shape {list(shape)}; it must hold square matrices")
    if shape[-1] > _LARGEST:
        raise s.unsupported(f"determinants of matrices of {shape[-1]} rows; at most {_LARGEST} are")
    lead = len(shape) - 2
    result: Any = None
    while s.shape(x)[-1] > 1:
        pivot, x = _eliminated(s, x, lead)
        result = pivot if result is None else s.op("mul", [result, pivot])
    last = s.reshape(x, shape[:-2])
    return [last if result is None else s.op("mul", [result, last])]


_LARGEST = 16


def _eliminated(s: Scope, x: Any, lead: int) -> tuple[Any, Any]:
    """The pivot of the first column, with the sign of its row's exchange, and the matrix below it."""
    size = s.shape(x)[-1]
    column = s.op("slice", [x], axes=[lead + 1], begin=[0], end=[1])
    best = s.op("argmax_reduce", [s.op("abs", [column])], axes=[lead])
    numbers = np.arange(size).reshape((1,) * lead + (size, 1))
    chosen, top = s.op("eq", [numbers, best]), numbers == 0
    row = s.op("sum_reduce", [s.op("select", [chosen, x, 0])], axes=[lead])
    first = s.op("slice", [x], axes=[lead], begin=[0], end=[1])
    swapped = s.op("select", [top, row, s.op("select", [chosen, first, x])])
    pivot = s.op("slice", [row], axes=[lead + 1], begin=[0], end=[1])
    below = s.op("slice", [swapped], axes=[lead], begin=[1], end=[size])
    head = s.op("slice", [below], axes=[lead + 1], begin=[0], end=[1])
    safe = s.op("select", [s.op("eq", [pivot, 0]), 1, pivot])
    factors = s.op("div", [head, safe])
    rest = s.op("sub", [below, s.op("mul", [factors, row])])
    inner = s.op("slice", [rest], axes=[lead + 1], begin=[1], end=[size])
    sign = s.op("select", [s.op("eq", [best, 0]), pivot, s.op("neg", [pivot])])
    return s.reshape(sign, s.shape(x)[:-2]), inner

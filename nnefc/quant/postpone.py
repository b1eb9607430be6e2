"""Products of two computed matrices, with what scales their operands done after them.

Numbers. What multiplies an operand by a number multiplies the product instead: codes of the operand are then those that
it was computed with, and are not rounded once more.

Softmax. In softmax(x) V = (exp(x - max) V) / sum(exp(x - max)) the numerators of a row lie between 0 and 1, and the
largest is 1, while results over many elements are all small. So codes of numerators use their whole range in every row,
whatever it holds; and as codes are also what the sums are of, the weights of a row add up to 1 exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Origin, Value
from nnefc.ir.types import TensorType

_VIEWS = frozenset({"copy", "reshape", "squeeze", "unsqueeze", "transpose"})


def postponed(graph: Graph) -> Graph:
    """The same function with numbers that multiply operands of products of two computed matrices, and the divisions of
    softmax whose results such products alone read, done after the products; the same object where there are none."""
    while (moved := _scale_last(graph)) is not graph:  # a product may be an operand of another
        graph = moved
    return _divide_last(graph)


# ---- numbers


def _scale_last(graph: Graph) -> Graph:
    factors = {
        op.output.name: factor
        for op in graph.ops
        if (factor := _factor(op)) is not None and _ends_in_products(graph, op.output)
    }
    if not factors:
        return graph
    building = _Building(graph)
    plain: dict[str, Value] = {}
    for op in graph.ops:
        if len(op.outputs) == 1 and op.output.name in factors and op.kind in ("mul", "div"):
            plain[op.output.name] = next(v for v in op.inputs if isinstance(v, Value))
            continue
        scales = [factors.get(v.name, 1.0) if isinstance(v, Value) else 1.0 for v in op.inputs]
        op = op.replace(inputs=tuple(plain.get(v.name, v) if isinstance(v, Value) else v for v in op.inputs))
        if op.kind == "matmul" and math.prod(scales) != 1:
            number = Literal(math.prod(scales), op.output.type.dtype)
            building.product(op, op.inputs, f"{op.output.name}_unscaled", number)
        else:
            building.ops.append(op)
            if op.kind in _VIEWS and scales[0] != 1:
                factors[op.output.name] = scales[0]
    return graph.replace(ops=tuple(building.ops))


def _factor(op: Op) -> float | None:
    """The number that an operation multiplies a computed tensor by."""
    if op.kind not in ("mul", "div") or op.output.type.dtype.kind != "f":
        return None
    x, y = op.inputs if op.kind == "div" or isinstance(op.inputs[0], Value) else op.inputs[::-1]
    if not isinstance(x, Value) or not isinstance(y, Literal) or not y.value:
        return None
    factor = float(y.value) if op.kind == "mul" else 1 / float(y.value)
    return factor if math.isfinite(factor) else None


def _ends_in_products(graph: Graph, value: Value) -> bool:
    """Whether products of two computed matrices alone read a tensor, or other views of it."""
    readers = graph.users[value.name]
    return (
        value not in graph.outputs
        and bool(readers)
        and all(_multiplies(graph, r) or (r.kind in _VIEWS and _ends_in_products(graph, r.output)) for r in readers)
    )


def _multiplies(graph: Graph, op: Op) -> bool:
    if op.kind != "matmul":
        return False
    makers = (graph.producers.get(v.name) if isinstance(v, Value) else None for v in op.inputs)
    return all(maker is None or maker.kind not in ("variable", "constant") for maker in makers)


# ---- softmax


def _divide_last(graph: Graph) -> Graph:
    found = {op.output.name: tuple(_divided(graph, op)) for op in graph.ops if op.kind == "softmax"}
    found = {name: products for name, products in found.items() if products}
    if not found:
        return graph
    building = _Building(graph)
    parts: dict[str, tuple[Value, Value]] = {}
    for op in graph.ops:
        x = op.inputs[0] if op.inputs else None
        if op.kind == "matmul" and isinstance(x, Value) and x.name in parts:
            numerator, factor = parts[x.name]
            building.product(op, (numerator, op.inputs[1]), f"{op.output.name}_undivided", factor)
        elif op.kind == "softmax" and op.output.name in found:
            parts[op.output.name] = building.softmax(op, found[op.output.name])
        else:
            building.ops.append(op)
    return graph.replace(ops=tuple(building.ops))


def _divided(graph: Graph, op: Op) -> Iterator[Op]:
    """The products that alone read the result of a softmax, each as its first operand, over the elements that are added
    up; none where it is read otherwise."""
    value, readers = op.output, graph.users[op.output.name]
    last = op.attrs["axes"] == (value.type.rank - 1,) and isinstance(op.inputs[0], Value)
    if last and value not in graph.outputs and all(_reads_rows(r, value) and _multiplies(graph, r) for r in readers):
        yield from readers


def _reads_rows(product: Op, value: Value) -> bool:
    return (
        product.kind == "matmul" and product.inputs[0] == value != product.inputs[1] and not product.attrs["transposeA"]
    )


# ---- the new graph


class _Building:
    """The operations of the new graph, in order."""

    def __init__(self, graph: Graph):
        self.ops: list[Op] = []
        self._taken = {name.lower() for name in graph.values}

    def softmax(self, op: Op, products: tuple[Op, ...]) -> tuple[Value, Value]:
        """The numerators of a softmax, and the reciprocals of their sums. The sums also have the products' names: they
        work on codes if these do."""
        (x,), y, axes = op.inputs, op.output, op.attrs["axes"]
        rows = TensorType(y.type.dtype, (*y.type.extents[:-1], 1))
        origin = _origin(op)
        largest = self._add("max_reduce", (x,), rows, f"{y.name}_largest", origin, axes=axes)
        difference = self._add("sub", (x, largest), y.type, f"{y.name}_difference", origin)
        numerator = self._add("exp", (difference,), y.type, f"{y.name}_numerator", origin)
        for product in products:
            origin = origin.merged(_origin(product))
        total = self._add("sum_reduce", (numerator,), rows, f"{y.name}_sum", origin, axes=axes, normalize=False)
        return numerator, self._add("rcp", (total,), rows, f"{y.name}_factor", origin)

    def product(self, op: Op, operands: tuple[Operand, ...], name: str, factor: Operand) -> None:
        """A product of other operands, under another name, and its result, multiplied by ``factor``, under its own."""
        inner = Value(self._name(name), op.output.type)
        self.ops.append(op.replace(inputs=operands, outputs=(inner,), origin=_origin(op)))
        self.ops.append(Op("mul", (inner, factor), Attrs(), op.outputs, _origin(op)))

    def _add(
        self, kind: str, inputs: tuple[Operand, ...], made: TensorType, name: str, origin: Origin, **attrs: object
    ) -> Value:
        value = Value(self._name(name), made)
        self.ops.append(Op(kind, inputs, Attrs(attrs), (value,), origin))
        return value

    def _name(self, stem: str) -> str:
        """A name that is not taken yet, whatever the case of its letters, and now is."""
        name, number = stem, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(name.lower())
        return name


def _origin(op: Op) -> Origin:
    """The origin of an operation, its own name among the names."""
    return op.origin.merged(Origin((op.output.name,)))

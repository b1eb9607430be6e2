"""Which tensors of a network are coded: what operations take as codes, and nothing that kernels keep in registers."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass

from nnefc.ir.graph import Graph, Op, Value
from nnefc.ir.types import DType
from nnefc.ops import elementwise, elementwise_extension

PRODUCTS: Mapping[str, int] = {"conv": 0, "deconv": 1, "linear": 0}
"""Operations that multiply by weights, their second operand: the dimension of the weights that gives the channels of
the result. That of ``matmul`` is its last, or the one before where it is transposed."""
SUMS = frozenset({"avg_pool", "box", "mean_reduce", "sum_reduce", "area_downsample"})
"""Operations that add up elements."""
MOVES = frozenset(
    "copy reshape squeeze unsqueeze transpose split concat stack unstack slice pad tile gather max_pool max_reduce "
    "min_reduce nearest_upsample nearest_downsample".split()
)
"""Operations whose results are elements of their operands (or zeros): codes stay the codes that they are."""
VIEWS = frozenset({"copy", "reshape", "squeeze", "unsqueeze", "transpose"})
"""Moves that give another view of the same memory."""
REDUCTIONS = frozenset({"max_reduce", "min_reduce", "sum_reduce", "mean_reduce"})
"""Operations whose results, with the elements that they are of, are what softmax and normalizations are made of."""
ELEMENTWISE = frozenset(
    {row.name for row in (*elementwise.ROWS, *elementwise_extension.ROWS)} | {"batch_normalization"}
)
"""Operations on elements at the same index: they go into the kernel that computes their operand."""
SOURCES = frozenset({"variable", "constant", "external"})


@dataclass(frozen=True)
class Group:
    """Tensors with one encoding. ``sources`` are those among them in which all values of the others lie. ``symmetric``
    codes are signed, 0 in their middle: one of the tensors is the second operand of a product."""

    members: tuple[str, ...]
    sources: tuple[str, ...]
    symmetric: bool = False


@dataclass(frozen=True)
class Placement:
    """What is coded. ``weights`` are variables: the dimension of their channels, and the operations (by the name of
    their result) that multiply by them. ``floats`` says why operations, by the name of their first result, work on
    floats."""

    groups: tuple[Group, ...]
    weights: Mapping[str, tuple[int, tuple[str, ...]]]
    floats: Mapping[str, str]


def place(graph: Graph, kept: Mapping[str, str] | None = None, *, activations: bool = True) -> Placement:
    """Where encodings go in a prepared graph.

    Products, sums and moves take codes, ``matmul`` for both operands. A tensor is coded if one of these takes it, or if
    an element-wise operation reads it from memory whose result is coded in the end; a tensor that lives only between a
    kernel's sum and the element-wise operations that follow it is not, nor are results of the graph that nothing else
    reads. Moves share the encoding of their operands and results. ``kept`` are operations (by the name of a result) and
    tensors that stay float, with the reason. Without ``activations`` only weights are found.
    """
    placer = _Placer(graph, kept or {})
    if activations:
        placer.find_needed()
    weights = placer.weights(activations)
    return Placement(placer.groups(), weights, placer.floats)


def weight_axis(op: Op) -> int | None:
    """The dimension of an operation's weights along which the channels of its result lie; None if it has no weights."""
    if op.kind == "matmul":
        rank = op.inputs[1].type.rank
        return rank - 2 if op.attrs["transposeB"] else rank - 1
    return PRODUCTS.get(op.kind)


class _Placer:
    def __init__(self, graph: Graph, kept: Mapping[str, str]):
        self.graph, self.kept = graph, kept
        self.position = {v.name: n for n, op in enumerate(graph.ops) for v in op.outputs}
        self.outputs = {v.name for v in graph.outputs}
        self.floats: dict[str, str] = {}
        self.needed: set[str] = set()
        self.labels = collections.Counter(str(op.attrs["label"]).lower() for op in graph.ops if op.kind == "variable")
        self.constants = {v.name for op in graph.ops if op.kind in ("variable", "constant") for v in op.outputs}
        self.computing = {op.outputs[0].name: self._reason(op) for op in graph.ops if op.kind not in SOURCES}
        self.roots = self._roots()
        self.exits = self._exits()

    # ---- operations

    def _reason(self, op: Op) -> str | None:
        """Why an operation does not take codes, or None if it does (moves and element-wise ones: if others do)."""
        if op.outputs[0].name in self.kept:
            return self.kept[op.outputs[0].name]
        for name in [v.name for v in op.inputs if isinstance(v, Value) and v.name in self.kept]:
            if name not in self.position or name in self.constants:
                return f"its operand {name!r}: {self.kept[name]}"
        if op.kind in PRODUCTS or op.kind == "matmul":
            return self._product_fault(op)
        if op.kind in MOVES:
            constant = [v.name for v in op.inputs if isinstance(v, Value) and v.name in self.constants]
            return f"its operand {constant[0]!r} is constant" if constant and op.kind != "gather" else None
        if op.kind in SUMS or op.kind in ELEMENTWISE:
            return None
        return f"{op.kind} has no integer form"

    def _product_fault(self, op: Op) -> str | None:
        x, w = op.inputs[:2]
        if op.output.type.dtype is not DType.F32:
            return f"it computes {op.output.type.dtype}"
        if not isinstance(x, Value) or x.name in self.constants:
            return "its first operand is constant"
        if op.kind == "matmul" and isinstance(w, Value) and not self._weighted(op):
            return None
        producer = self.graph.producers.get(w.name) if isinstance(w, Value) else None
        readers = self.graph.users[w.name] if isinstance(w, Value) else ()
        if producer is None or producer.kind != "variable" or any(u.kind == "update" for u in readers):
            return "its weights are computed"
        shared = self.labels[str(producer.attrs["label"]).lower()] > 1
        return f"its weights have the label {producer.attrs['label']!r} with others" if shared else None

    def _elementwise(self, op: Op, name: str) -> bool:
        """Whether the operation reads the tensor at the index of its result."""
        size = self.graph.values[name].type.volume
        return op.kind in ELEMENTWISE and op.output.type.volume == size and op.outputs[0].name not in self.kept

    # ---- what kernels keep to themselves

    def _roots(self) -> dict[str, int]:
        """For each computed tensor the position of the operation whose kernel stores it: where several could go on to
        compute it, fusion takes the first."""
        roots: dict[str, int] = {}
        for n, op in enumerate(self.graph.ops):
            inner = [roots[v.name] for v in op.inputs if isinstance(v, Value) and self._may_end_in(v)]
            for v in op.outputs:
                roots[v.name] = min(inner, default=n)
        return roots

    def _may_end_in(self, v: Value) -> bool:
        """Whether what reads ``v`` may become the end of the kernel that computes it."""
        producer = self.graph.producers.get(v.name)
        if producer is None or producer.kind in SOURCES or producer.kind in MOVES - VIEWS or v.name in self.outputs:
            return False
        users = self.graph.users[v.name]
        return all(u.kind in VIEWS or self._elementwise(u, v.name) for u in users)

    def _exits(self) -> dict[str, str]:
        """For each tensor the one that its kernel stores in its place: itself, unless all that read it end in one
        element-wise result."""
        exits: dict[str, str] = {}
        for op in reversed(self.graph.ops):
            for v in op.outputs:
                users = self.graph.users[v.name]
                inside = bool(users) and self._may_end_in(v)
                inside &= all(self.roots[user.outputs[0].name] == self.roots[v.name] for user in users)
                ends = {exits[user.output.name] for user in users} if inside else set()
                viewed = any(user.kind in VIEWS and user.output.name in ends for user in users)
                exits[v.name] = ends.pop() if len(ends) == 1 and not viewed else v.name
        return exits

    # ---- what is coded

    def find_needed(self) -> None:
        """Find the tensors that are coded, from the results to the inputs."""
        names = [*(v.name for v in self.graph.inputs), *self.position]
        for name in reversed(names):
            value = self.graph.values[name]
            given = name not in self.position
            if name in self.constants or (given and name in self.kept) or value.type.dtype is not DType.F32:
                continue
            if self.exits.get(name, name) == name and any(self._takes(user, name) for user in self.graph.users[name]):
                self.needed.add(name)

    def _takes(self, op: Op, name: str) -> bool:
        """Whether an operation takes a tensor as codes."""
        if self.computing.get(op.outputs[0].name, "") is not None:
            return False
        if op.kind in PRODUCTS or op.kind == "matmul":
            factors = op.inputs[: 1 if op.kind in PRODUCTS else 2]
            return any(isinstance(v, Value) and v.name == name for v in factors)
        if op.kind in SUMS:
            return True
        if op.kind in MOVES:
            return any(v.name in self.needed for v in op.outputs)
        read = name in self.position and self._elementwise(op, name) and not self._reduces(op, name)
        return read and self.exits[op.outputs[0].name] in self.needed

    def _reduces(self, op: Op, name: str) -> bool:
        """Whether another operand is a reduction of the tensor: a row, which is computed in float."""
        producers = (self.graph.producers.get(v.name) for v in op.inputs if isinstance(v, Value))
        return any(p is not None and p.kind in REDUCTIONS and p.inputs[0] == self.graph.values[name] for p in producers)

    def groups(self) -> tuple[Group, ...]:
        """The coded tensors, those that share an encoding together, in the graph's order."""
        parent = {name: name for name in self.graph.values if name in self.needed}

        def find(name: str) -> str:
            while parent[name] != name:
                parent[name] = name = parent[parent[name]]
            return name

        moved: set[str] = set()
        for op in self.graph.ops:
            if op.kind in MOVES and self.computing[op.outputs[0].name] is None:
                ends = (*op.inputs, *op.outputs)
                joined = [v.name for v in ends if isinstance(v, Value) and v.name in self.needed]
                for name in joined[1:]:
                    parent[find(name)] = find(joined[0])
                coded = any(isinstance(v, Value) and v.name in self.needed for v in op.inputs)
                moved |= {v.name for v in op.outputs} if coded else set()
        members: dict[str, list[str]] = {}
        for name in parent:
            members.setdefault(find(name), []).append(name)
        products = [op.inputs[1] for op in self.graph.ops if self._multiplies_computed(op)]
        second = {v.name for v in products if isinstance(v, Value)}
        return tuple(
            Group(tuple(m), tuple(n for n in m if n not in moved), not second.isdisjoint(m)) for m in members.values()
        )

    def _multiplies_computed(self, op: Op) -> bool:
        """Whether an operation takes two computed tensors as codes to multiply them."""
        return op.kind == "matmul" and self.computing[op.output.name] is None and not self._weighted(op)

    def _weighted(self, op: Op) -> bool:
        """Whether a product multiplies by a stored tensor."""
        return isinstance(op.inputs[1], Value) and op.inputs[1].name in self.constants

    def weights(self, activations: bool) -> dict[str, tuple[int, tuple[str, ...]]]:
        """The variables that are coded, and the reasons why operations work on floats."""
        found: dict[str, tuple[int, tuple[str, ...]]] = {}
        for op in self.graph.ops:
            name = op.outputs[0].name
            if op.kind in SOURCES:
                continue
            reason, axis = self.computing[name], weight_axis(op)
            if reason is None and axis is not None:
                factors = op.inputs[: 1 if self._weighted(op) else 2] if activations else ()
                floats = [v.name for v in factors if isinstance(v, Value) and v.name not in self.needed]
                if floats:
                    reason = f"its operand {floats[0]!r} is not coded"
                elif self._weighted(op):
                    reason = self._add_weights(op, axis, found)
            if reason is not None and op.kind not in ELEMENTWISE | MOVES:
                self.floats[name] = reason
        return found

    def _add_weights(self, op: Op, axis: int, found: dict[str, tuple[int, tuple[str, ...]]]) -> str | None:
        """Put down the weights of a product. Gives the reason why that cannot be."""
        w = op.inputs[1]
        assert isinstance(w, Value)
        other = found.get(w.name, (axis, ()))
        if other[0] != axis:
            return f"its weights {w.name!r} are those of {other[1][0]!r}, along another dimension"
        found[w.name] = (axis, (*other[1], op.output.name))
        return None

"""Operations of the extension written out in those of the standard, by their own definitions."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib import resources

from nnefc.formats.nnef import parse_graph
from nnefc.ir.graph import Graph, Literal, Op, Value
from nnefc.ir.text import OPERATIONS_EXTENSION, format_op
from nnefc.ir.types import INTEGER, LOGICAL, SCALAR
from nnefc.ops.signatures import EXTENSION, is_extension, signatures

_HEADER = (
    "version 1.0;\n"
    f"extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions, {OPERATIONS_EXTENSION};\n"
)
_TYPES = {SCALAR: "scalar", INTEGER: "integer", LOGICAL: "logical"}


def plainer(graph: Graph) -> Graph:
    """The graph with every operation of ``NNEFC_operations`` that has a body, on tensors of the standard's types,
    replaced by its body, and the same in turn. Results are the same but for the rounding of the steps."""
    names = set(graph.values)
    ops: list[Op] = []
    pending = list(reversed(graph.ops))
    while pending:
        op = pending.pop()
        if _has_plain_body(op):
            pending += reversed(_expanded(op, names))
        else:
            ops.append(op)
    return graph if len(ops) == len(graph.ops) else graph.replace(ops=tuple(ops))


def _has_plain_body(op: Op) -> bool:
    if op.kind not in signatures() or not is_extension(op.kind) or signatures()[op.kind].body is None:
        return False
    return all(v.type.dtype in _TYPES for v in (*op.inputs, *op.outputs))


@cache
def _fragment(kind: str) -> str:
    """The definition of an operation, under the name ``body_of_...``."""
    text = resources.files("nnefc.ops").joinpath(EXTENSION).read_text(encoding="utf-8")
    found = re.search(rf"^fragment {kind}\b[^;{{]*\{{.*?\}}$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"{EXTENSION} has no body of {kind!r}")
    return found.group().replace(f"fragment {kind}", f"fragment body_of_{kind}", 1)


def _expanded(op: Op, names: set[str]) -> list[Op]:
    """The operations of an operation's body. ``names`` are taken; those of new tensors are added."""
    inputs = [v for v in dict.fromkeys(op.inputs) if isinstance(v, Value)]
    externals = [f"{v.name} = external<{_TYPES[v.type.dtype]}>(shape = {list(v.type.extents)});" for v in inputs]
    bare = op.replace(outputs=tuple(replace(v, type=v.type.with_encoding(None)) for v in op.outputs))
    call = format_op(bare, signatures()[op.kind], types=False).replace(f"= {op.kind}(", f"= body_of_{op.kind}(", 1)
    ends = ", ".join(v.name for v in inputs), ", ".join(v.name for v in op.outputs)
    body = "\n".join([*externals, call])
    made = parse_graph(f"{_HEADER}{_fragment(op.kind)}\ngraph body({ends[0]}) -> ({ends[1]})\n{{\n{body}\n}}\n")
    final = {v.name: v for v in (*inputs, *op.outputs)}
    for inner in made.ops:
        for value in inner.outputs:
            if value.name not in final:
                final[value.name] = replace(value, name=_fresh(f"{op.outputs[0].name}_{inner.kind}", names))
    return [_renamed(inner, final, op) for inner in made.ops]


def _fresh(stem: str, names: set[str]) -> str:
    name, n = stem, 1
    while name in names:
        n += 1
        name = f"{stem}_{n}"
    names.add(name)
    return name


def _renamed(inner: Op, final: dict[str, Value], op: Op) -> Op:
    operands = tuple(x if isinstance(x, Literal) else final[x.name] for x in inner.inputs)
    return inner.replace(inputs=operands, outputs=tuple(final[v.name] for v in inner.outputs), origin=op.origin)

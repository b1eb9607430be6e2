"""Softmax and normalizations from their parts: reductions and what uses their results become rows.

Three rules. What is computed element by element for a reduction is done where the reduction reads. A reduction whose
result only a Map over the same elements uses becomes a Row with that Map. Two Rows over the same rows, of which one
reads what the other leaves, become one. Expressions with functions are not computed twice for it, but for those that a
kernel of rows leaves in its output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nnefc.ir.expr import Expr, arg
from nnefc.ir.program import Call, Map, Program, Reduce, Row
from nnefc.ir.view import Role, View
from nnefc.passes.fuse import MAX_NODES, MAX_OPERANDS, alignment
from nnefc.passes.rewrite import Rewriting, exhaust

STAGES = frozenset({"sum", "max", "min"})
FEW_ROWS = 16
"""Fewer rows than this are not enough work units."""
SMALL = 16384
"""Elements that one thread does anyway."""

Convert = Callable[[View], View]


def rows(program: Program) -> Program:
    """The program with the rules applied until none fits; the same object where none did."""
    state = _State(program)
    return exhaust(program, state, state.step)


class _State(Rewriting):
    def step(self, n: int) -> bool:
        """Join call ``n`` with its reader, if a rule fits. The result stands where the reader stood."""
        producer = self.calls[n]
        if producer is None or len(producer.writes()) != 1:
            return False
        (output,) = producer.writes()
        readers = self.readers.get(output.buffer.name, set())
        if output.buffer.role is not Role.TEMP or self.writers[output.buffer.name] != {n} or len(readers) != 1:
            return False
        (m,) = readers
        read = {v.buffer.name for v in producer.reads()}
        if m <= n or any(self.written(name, n, m) for name in read):
            return False
        if read & {v.buffer.name for v in self.call(m).writes()}:
            return False
        joined = _joined(producer, self.call(m), output)
        if joined is None:
            return False
        self.replace(n, None)
        self.replace(m, replace(joined, origin=producer.origin.merged(self.call(m).origin)))
        return True


def _joined(producer: Call, reader: Call, output: View) -> Call | None:
    if isinstance(producer, Map) and isinstance(reader, (Reduce, Row)):
        return _read_through(producer, reader, output)
    if isinstance(producer, Reduce) and isinstance(reader, Map) and len(reader.outputs) == 1:
        return _row_of(producer, reader, output)
    if isinstance(producer, Row) and isinstance(reader, Row):
        return _one_row(producer, reader, output)
    return None


def _read_through(producer: Map, reader: Reduce | Row, output: View) -> Call | None:
    """The reader doing what a Map computes for it."""
    inputs = reader.inputs
    places = [k for k, v in enumerate(inputs) if v.buffer == output.buffer]
    if not places or len(places) != sum(v.buffer == output.buffer for v in reader.reads()):
        return None
    seen = inputs[places[0]]
    convert = alignment(output, seen)
    if convert is None or not all(inputs[k].same_elements(seen) for k in places):
        return None
    views = tuple(map(convert, producer.inputs))
    if not views or not all(_as_contiguous(seen, v) for v in views):
        return None
    (expr,) = producer.exprs
    others = [k for k in range(len(inputs)) if k not in places]
    count = len(others) + len(views)
    made = expr.renumbered(range(len(others), count))
    stages = len(reader.stages) if isinstance(reader, Row) else 0
    args = [made if k in places else arg(others.index(k), v.dtype) for k, v in enumerate(inputs)]
    kept = (*(inputs[k] for k in others), *views)
    if count + 1 > MAX_OPERANDS:
        return None
    if isinstance(reader, Reduce):
        whole = reader.expr.substitute(args)
        twice = _uses(reader.expr, places) > 1 and expr.has_function()
        return None if twice or whole.size() > MAX_NODES else replace(reader, inputs=kept, expr=whole)
    if expr.has_function():
        return None
    return _row(reader, kept, args, count, stages)


def _row(row: Row, inputs: tuple[View, ...], args: list[Expr], count: int, stages: int) -> Row | None:
    """A Row of other inputs: ``args`` stand for the old ones, and results follow ``count`` inputs."""
    kinds = [e.dtype for _, e in row.stages]
    given = args + [arg(count + k, kinds[k]) for k in range(stages)]
    taken = tuple((op, e.substitute(given)) for op, e in row.stages)
    final = row.expr.substitute(given)
    too_large = max(e.size() for e in (final, *(e for _, e in taken))) > MAX_NODES
    return None if too_large else replace(row, stages=taken, expr=final, inputs=inputs)


def _as_contiguous(old: View, new: View) -> bool:
    """Whether dimensions along which ``old`` is contiguous are so in ``new``, or are repeated."""
    return all(new.strides[d] in (0, 1) for d in range(old.rank) if old.shape[d] > 1 and old.strides[d] == 1)


def _uses(expr: Expr, places: list[int]) -> int:
    if expr.op == "arg":
        return int(expr.value in places)
    return sum(_uses(a, places) for a in expr.args)


def _row_of(producer: Reduce, reader: Map, output: View) -> Row | None:
    """A reduction and the Map that uses its result, over the elements that were reduced."""
    rank = output.rank
    if producer.op not in STAGES or producer.extras or not producer.inputs:
        return None
    if output.volume < FEW_ROWS and producer.inputs[0].volume > SMALL:
        return None
    shape = producer.inputs[0].shape
    convert = _by_common_tensor(producer.inputs, reader.inputs, shape)
    if convert is None:
        return None
    target = convert(reader.outputs[0])
    views = tuple(map(convert, reader.inputs))
    result = View(output.buffer, output.offset, shape, (*output.strides, *(0,) * producer.axes))
    places = [k for k, v in enumerate(reader.inputs) if v.buffer == output.buffer]
    if not all(views[k].same_elements(result) for k in places) or not _covers(target, reader.outputs[0]):
        return None
    others = [k for k in range(len(views)) if k not in places]
    count = len(producer.inputs) + len(others)
    value = arg(count, producer.expr.dtype)
    value = value if producer.post is None else producer.post.substitute([value])
    args = [value if k in places else arg(len(producer.inputs) + others.index(k), v.dtype) for k, v in enumerate(views)]
    final = reader.exprs[0].substitute(args)
    if final.size() > MAX_NODES or count + 1 > MAX_OPERANDS:
        return None
    inputs = (*producer.inputs, *(views[k] for k in others))
    assert rank + producer.axes == len(shape)
    return Row(((producer.op, producer.expr),), final, inputs, target, producer.axes)


def _by_common_tensor(first: tuple[View, ...], second: tuple[View, ...], shape: tuple[int, ...]) -> Convert | None:
    """How views of the second index space look from the first, of ``shape``, if both read the same elements of a tensor
    whose dimensions tell which is which; None where there is no such tensor."""
    for a in first:
        for b in second:
            if a.buffer == b.buffer and a.offset == b.offset and a.volume == b.volume:
                found = _matched(a, b)
                if found is not None:
                    return lambda v: View(v.buffer, v.offset, shape, tuple(0 if d < 0 else v.strides[d] for d in found))
    return None


def _matched(a: View, b: View) -> list[int] | None:
    """For each dimension of ``a`` that of ``b`` with the same extent and stride, -1 for extents of 1."""
    steps = {s: d for d, (n, s) in enumerate(zip(b.shape, b.strides, strict=True)) if n > 1}
    found = []
    for n, s in zip(a.shape, a.strides, strict=True):
        d = steps.pop(s, -2) if n > 1 and s else -1 if n == 1 else -2
        if d == -2 or (d >= 0 and b.shape[d] != n):
            return None
        found.append(d)
    return None if steps else found


def _covers(converted: View, view: View) -> bool:
    """Whether a converted view still has as many different elements as before."""
    moving = all(s for n, s in zip(converted.shape, converted.strides, strict=True) if n > 1)
    return moving and converted.volume == view.volume


def _one_row(producer: Row, reader: Row, output: View) -> Row | None:
    """Two Rows over the same rows as one."""
    places = [k for k, v in enumerate(reader.inputs) if v.buffer == output.buffer]
    seen = reader.inputs[places[0]]
    found = _matched(output, seen) if seen.offset == output.offset and seen.volume == output.volume else None
    if found is None or not all(reader.inputs[k].same_elements(seen) for k in places):
        return None
    first, second = (r.output.rank - r.axes for r in (producer, reader))
    if any(d >= 0 and (d < second) != (k < first) for k, d in enumerate(found)):
        return None
    uses = sum(_uses(e, places) for e in (*(e for _, e in reader.stages), reader.expr))
    if producer.expr.has_function() and uses > 2:
        return None

    def convert(v: View) -> View:
        return View(v.buffer, v.offset, output.shape, tuple(0 if d < 0 else v.strides[d] for d in found))

    others = [k for k in range(len(reader.inputs)) if k not in places]
    count = len(producer.inputs) + len(others)
    numbers = [*range(len(producer.inputs)), *range(count, count + len(producer.stages))]
    stages = tuple((op, e.renumbered(numbers)) for op, e in producer.stages)
    made = producer.expr.renumbered(numbers)
    args = [
        made if k in places else arg(len(producer.inputs) + others.index(k), v.dtype)
        for k, v in enumerate(reader.inputs)
    ]
    kinds = [e.dtype for _, e in reader.stages]
    args += [arg(count + len(stages) + k, kinds[k]) for k in range(len(kinds))]
    stages += tuple((op, e.substitute(args)) for op, e in reader.stages)
    final = reader.expr.substitute(args)
    if max(final.size(), *(e.size() for _, e in stages)) > MAX_NODES or count + 1 > MAX_OPERANDS:
        return None
    inputs = (*producer.inputs, *(convert(reader.inputs[k]) for k in others))
    return Row(stages, final, inputs, convert(reader.output), producer.axes)

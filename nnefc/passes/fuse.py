"""Fusion on kernel families: what follows a kernel element by element is done where the kernel stores.

Two rules serve all operations. A Map that reads all that one kernel wrote, and is its only reader, moves into that
kernel (into the expression of a Map or a Row, the ``post`` of a Reduce, a Window or a Contract). A copy of all that one
kernel wrote vanishes: the kernel writes to the copy's place, or, where others read it too, everyone uses the copy's
buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nnefc.ir.expr import Expr, arg
from nnefc.ir.program import BoxReduce, Call, Contract, Gather, Map, Program, Reduce, Row
from nnefc.ir.view import Role, View
from nnefc.ir.window import Window
from nnefc.passes.rewrite import Rewriting, exhaust

MAX_NODES = 96
"""Nodes that a fused expression may have."""
MAX_OPERANDS = 12
"""Tensors that a fused kernel may read and write."""


def fuse(program: Program) -> Program:
    """The program with the two rules applied until none fits; the same object where none did."""
    state = _State(program)
    return exhaust(program, state, state.step)


class _State(Rewriting):
    def step(self, n: int) -> bool:
        """Fuse call ``n`` with its reader, if a rule fits. The result stands where the reader stood."""
        producer = self.calls[n]
        if producer is None or len(producer.writes()) != 1:
            return False
        (output,) = producer.writes()
        name = output.buffer.name
        readers = self.readers.get(name, set())
        if output.buffer.role is not Role.TEMP or not readers:
            return False
        if self.writers[name] == {n} and len(readers) == 1:
            (m,) = readers
            fused = self._fused(n, m, producer)
            if fused is not None:
                self.replace(n, None)
                self.replace(m, fused)
                return True
        return any(self._rename(m, name) for m in sorted(readers))

    def _fused(self, n: int, m: int, producer: Call) -> Call | None:
        consumer = self.calls[m]
        if m <= n or not isinstance(consumer, Map) or len(consumer.outputs) != 1:
            return None
        read = {v.buffer.name for v in producer.reads()}
        if consumer.outputs[0].buffer.name in read:
            return None
        if any(self.written(name, n, m) for name in read):
            return None
        return fuse_calls(producer, consumer)

    def _rename(self, m: int, name: str) -> bool:
        """If call ``m`` copies the whole buffer ``name`` to a whole buffer of its own, let all use that one."""
        call = self.calls[m]
        if not isinstance(call, Map) or not is_copy(call):
            return False
        source, target = call.inputs[0], call.outputs[0]
        whole = source.dense and target.dense and source.moves_like(target.strides)
        if not whole or source.buffer.name != name or source.buffer.dtype is not target.buffer.dtype:
            return False
        if self.writers[target.buffer.name] != {m} or target.buffer.role not in (Role.OUTPUT, Role.TEMP):
            return False
        self.replace(m, None)
        for k in sorted(self.readers.get(name, set()) | self.writers.get(name, set())):
            self.replace(k, self.call(k).with_views(_moved(name, target)))
        return True


def _moved(name: str, target: View) -> Callable[[View], View]:
    return lambda v: replace(v, buffer=target.buffer) if v.buffer.name == name else v


def is_copy(call: Map) -> bool:
    """Whether a Map copies one tensor to another of its type."""
    return len(call.exprs) == 1 and call.exprs[0].op == "arg" and len(call.inputs) == 1


def fuse_calls(producer: Call, consumer: Map) -> Call | None:
    """``consumer`` done by ``producer``, of whose output it is the only reader; None where no rule fits."""
    (written,) = producer.writes()
    places = [k for k, v in enumerate(consumer.inputs) if v.buffer == written.buffer]
    to_producer = alignment(consumer.inputs[places[0]], written)
    same = all(consumer.inputs[k].same_elements(consumer.inputs[places[0]]) for k in places)
    if to_producer is None or not same:
        return None
    target = to_producer(consumer.outputs[0])
    if not isinstance(producer, Map) and not _stays_contiguous(written, target):
        return None
    others = [(k, to_producer(v)) for k, v in enumerate(consumer.inputs) if k not in places]
    origin = producer.origin.merged(consumer.origin)
    if is_copy(consumer) and isinstance(producer, (Row, Gather, BoxReduce)):
        return replace(producer, output=target, origin=origin)
    if isinstance(producer, Row):
        return _row_and_map(replace(producer, output=target, origin=origin), consumer.exprs[0], len(places), others)
    base, before = _stored(producer)
    if base is None:
        return None
    args: list[Expr] = [base] * len(consumer.inputs)
    for i, (k, v) in enumerate(others):
        args[k] = arg(before + i, v.dtype)
    expr = consumer.exprs[0].substitute(args)
    views = tuple(v for _, v in others)
    if expr.size() > MAX_NODES or before + len(views) + 1 > MAX_OPERANDS:
        return None
    if isinstance(producer, Map):
        return replace(producer, exprs=(expr,), inputs=producer.inputs + views, outputs=(target,), origin=origin)
    assert isinstance(producer, (Reduce, Window, Contract))
    return replace(producer, post=expr, extras=producer.extras + views, output=target, origin=origin)


def _row_and_map(row: Row, expr: Expr, places: int, others: list[tuple[int, View]]) -> Row | None:
    """A Row that goes on to compute ``expr``: of its own value in ``places`` operands, and of ``others``, which are
    told by their numbers. None where a kernel leaves elements of the last stage in the output."""
    if row.stages[-1][1].has_function():
        return None
    count, more = len(row.inputs), len(others)
    numbers = [*range(count), *range(count + more, count + more + len(row.stages))]
    args = [row.expr.renumbered(numbers)] * (places + more)
    for i, (k, v) in enumerate(others):
        args[k] = arg(count + i, v.dtype)
    made = expr.substitute(args)
    if made.size() > MAX_NODES or count + more + 1 > MAX_OPERANDS:
        return None
    stages = tuple((op, e.renumbered(numbers)) for op, e in row.stages)
    return replace(row, stages=stages, expr=made, inputs=row.inputs + tuple(v for _, v in others))


def _stored(producer: Call) -> tuple[Expr | None, int]:
    """The expression that a kernel stores, and the number of its arguments."""
    if isinstance(producer, Map):
        return producer.exprs[0], len(producer.inputs)
    if isinstance(producer, Contract):
        plain = arg(0, producer.sum_type)
        return (producer.post or plain), 1 + len(producer.extras)
    if isinstance(producer, (Reduce, Window)):
        if producer.post is not None:
            return producer.post, 1 + len(producer.extras)
        return arg(0, producer.output.dtype), 1 + len(producer.extras)
    return None, 0


def _stays_contiguous(old: View, new: View) -> bool:
    """Whether the dimension along which ``old`` is contiguous is so in ``new``, if there is one."""
    lanes = [d for d in range(old.rank) if old.shape[d] > 1 and old.strides[d] == 1]
    return all(new.strides[d] == 1 for d in lanes)


def alignment(read: View, written: View) -> Callable[[View], View] | None:
    """How views of ``read``'s index space look from ``written``'s, if both reach the same elements once each.

    A dimension of ``read`` may be several of ``written``. The result maps a view of the shape of ``read`` to one of the
    shape of ``written`` such that ``read`` itself becomes ``written``. None where the two differ.
    """
    if read.offset != written.offset or read.volume != written.volume:
        return None
    unused = {d for d, n in enumerate(written.shape) if n > 1}
    chains: list[list[int]] = []
    for extent, stride in zip(read.shape, read.strides, strict=True):
        chain: list[int] = []
        while extent > 1:
            found = next((d for d in unused if written.strides[d] == stride), None)
            if found is None or extent % written.shape[found]:
                return None
            unused.discard(found)
            chain.append(found)
            extent //= written.shape[found]
            stride *= written.shape[found]
        chains.append(chain)
    if unused:
        return None

    def convert(view: View) -> View:
        strides = [0] * written.rank
        for chain, stride in zip(chains, view.strides, strict=True):
            for d in chain:
                strides[d] = stride
                stride *= written.shape[d]
        return View(view.buffer, view.offset, written.shape, tuple(strides))

    return convert

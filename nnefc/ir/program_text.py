"""Programs as text: one line per call, for people and for tests of passes."""

from __future__ import annotations

from nnefc.ir.expr import Expr
from nnefc.ir.program import BoxReduce, Call, Contract, Gather, Map, Port, Program, Reduce, Row
from nnefc.ir.sequential import Scan, Scatter, Sort, Suppress
from nnefc.ir.view import Role, View
from nnefc.ir.window import Slide, Window


def format_program(program: Program) -> str:
    """The whole Program: ports, constants and states with their sizes, and the calls in order.

    A view reads ``name: type[shape]``, with ``@offset`` and ``(strides)`` where it is not its whole buffer, row-major.
    In expressions ``$k`` is the k-th operand, for a ``post`` after ``$0``, the reduced value."""
    lines = [f"program {program.name}({', '.join(map(_port, program.inputs))}) -> ({_ports(program.outputs)})", "{"]
    buffers = program.buffers()
    for role, word in ((Role.CONST, "const"), (Role.TABLE, "table"), (Role.STATE, "state"), (Role.TEMP, "temp")):
        named = [f"{b.name}: {b.dtype}[{b.size}]" for b in buffers.values() if b.role is role]
        lines += [f"    {word} {text};" for text in named]
    lines += [f"    {format_call(c)};" for c in program.calls]
    return "\n".join([*lines, "}"]) + "\n"


def _port(port: Port) -> str:
    return f"{port.name}: {port.dtype}[{','.join(map(str, port.shape))}]"


def _ports(ports: tuple[Port, ...]) -> str:
    return ", ".join(map(_port, ports))


def format_view(view: View) -> str:
    """``name: type[shape]``, with offset and strides where they say something; a table has its own shape."""
    if view.buffer.role is Role.TABLE:
        return f"{view.buffer.name}: {view.dtype}[{view.buffer.size}]"
    text = f"{view.buffer.name}: {view.dtype}[{','.join(map(str, view.shape))}]"
    if view.row_major and view.offset == 0 and view.volume == view.buffer.size:
        return text
    return f"{text}@{view.offset}({','.join(map(str, view.strides))})"


def _views(views: tuple[View, ...]) -> str:
    return ", ".join(map(format_view, views))


def _post(post: Expr | None, extras: tuple[View, ...]) -> str:
    return "" if post is None else f", post = {post}" + (f" with [{_views(extras)}]" if extras else "")


def _slide(slide: Slide) -> str:
    """The size, then what is not as usual: ``3 stride 2 dilation 2 before 1``."""
    named = (("stride", slide.stride, 1), ("dilation", slide.dilation, 1), ("before", slide.before, 0))
    return " ".join([str(slide.size), *(f"{name} {n}" for name, n, usual in named if n != usual)])


def format_call(call: Call) -> str:
    """One call, as ``output = family(operands, what is computed)``."""
    if isinstance(call, Map):
        return f"{_views(call.outputs)} = map([{_views(call.inputs)}], {', '.join(map(str, call.exprs))})"
    if isinstance(call, Reduce):
        what = f"{call.op} of {call.expr} over {call.axes}{_post(call.post, call.extras)}"
        return f"{format_view(call.output)} = reduce([{_views(call.inputs)}], {what})"
    if isinstance(call, Window):
        what = f"{call.op} of {call.expr} over [{', '.join(map(_slide, call.slides))}]{_post(call.post, call.extras)}"
        return f"{format_view(call.output)} = window([{_views((call.x, *call.weights))}], {what})"
    if isinstance(call, Row):
        stages = ", ".join(f"{op} of {e}" for op, e in call.stages)
        return f"{format_view(call.output)} = row([{_views(call.inputs)}], {stages}, then {call.expr} over {call.axes})"
    if isinstance(call, Contract):
        what = f"groups = {call.groups}, reduced = {call.reduced}{_post(call.post, call.extras)}"
        return f"{format_view(call.output)} = contract({format_view(call.x)}, {format_view(call.w)}, {what})"
    if isinstance(call, Gather):
        batch = f", batch = {call.batch}" if call.batch else ""
        what = f"axis = {call.axis}{batch}, {'check' if call.check else 'clamp'}"
        return f"{format_view(call.output)} = gather({format_view(call.x)}, {format_view(call.index)}, {what})"
    if isinstance(call, BoxReduce):
        views = _views((call.x, call.batch, call.rows, call.columns))
        return f"{format_view(call.output)} = box_reduce({views}, {call.op})"
    return _sequential(call)


def _sequential(call: Call) -> str:
    if isinstance(call, Scatter):
        what = f"{call.expr} over {call.axes}, {'check' if call.check else 'skip'}"
        return f"{format_view(call.output)} = scatter({format_view(call.index)}, {format_view(call.updates)}, {what})"
    if isinstance(call, Scan):
        what = f"{call.step} from {call.start}{', exclusive' if call.exclusive else ''}"
        return f"{format_view(call.output)} = scan({format_view(call.x)}, {what})"
    if isinstance(call, Sort):
        what = "largest" if call.largest else "smallest"
        return f"{_views(call.writes())} = sort({format_view(call.x)}, {what})"
    if isinstance(call, Suppress):
        what = f"score > {call.score_threshold}, overlap = {call.overlap}"
        return f"{_views(call.writes())} = suppress({_views(call.reads())}, {what})"
    raise TypeError(type(call).__name__)

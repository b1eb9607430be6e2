"""A launch plan as text: for each call the kernel chosen, its tile and units, and what it is expected to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nnefc.codegen.cost import cost, expected_seconds
from nnefc.codegen.kernels.winograd import WinogradKernel
from nnefc.codegen.pack import Panels
from nnefc.codegen.spec import Barrier, BlockedLaunch, KernelSpec, Launch, LaunchPlan
from nnefc.codegen.target import Target
from nnefc.codegen.winograd import Winograd
from nnefc.ir.program import Call
from nnefc.ir.program_text import format_call, format_view


def format_plan(name: str, plan: LaunchPlan, target: Target) -> str:
    """The whole plan: its memory, then the launches in order, and where threads meet (if they do).

    Times are those of :func:`nnefc.codegen.cost.expected_seconds`, for one core."""
    count = sum(isinstance(s, Launch) for s in plan.steps)
    lines = [
        f"plan {name} for {target}",
        "{",
        f"    launches {count}, kernels {len(plan.specs())}, {'threads' if plan.parallel else 'one thread'};",
        f"    weights {plan.weights.nbytes} bytes, arena {plan.arena_size} bytes, state {plan.state_size} bytes;",
    ]
    for step in plan.steps:
        if isinstance(step, Launch):
            lines += [f"    {line}" for line in _launch_lines(step, target)]
        elif isinstance(step, Barrier) and plan.parallel:
            lines.append("    barrier;")
    return "\n".join([*lines, "}"]) + "\n"


def _launch_lines(launch: Launch, target: Target) -> Iterator[str]:
    call = launch.call
    if call is not None and call.origin.names:
        yield f"# {title_of(call.origin.names)}"
    yield f"{call_text(call)};" if call is not None else "call;"
    units = f"{launch.units} units" if launch.units != 1 else "1 unit"
    expected = f", {expected_text(call, target)}" if call is not None else ""
    yield f"    by {launch_text(launch)}, {units}{' on one thread' if launch.serial else ''}{expected}"


def title_of(names: Sequence[str]) -> str:
    """Names of an origin in short: the first whole, of the others the last part; none that only lengthens another."""
    own = [n for n in names if not any(n != m and n.startswith(m) for m in names)]
    return " + ".join([*own[:1], *(n.rpartition("/")[2] for n in own[1:])])


def call_text(call: Call) -> str:
    """A call of a Program, or one whose weights are packed or transformed, in one line."""
    if isinstance(call, (Panels, Winograd)):
        return format_call(call.contract)
    views = (", ".join(map(format_view, side)) for side in (call.writes(), call.reads()))
    try:
        return format_call(call)
    except TypeError:
        return f"{next(views)} = {type(call).__name__.lower()}({next(views)})"


def launch_text(launch: Launch) -> str:
    """The kernel instance of a launch, or those that it calls for every block of rows."""
    if not isinstance(launch, BlockedLaunch):
        return instance_text(launch.spec)
    return f"{', '.join(map(instance_text, launch.specs()))} by {launch.block} rows"


def instance_text(spec: KernelSpec) -> str:
    """A kernel instance: its family, and its tile as rows x columns x lanes (and a narrower column), where it has one,
    of an element type."""
    sizes = [getattr(spec, name, None) for name in ("rows", "cols", "lanes")]
    tile = "x".join(str(n) for n in sizes if n is not None)
    tile += f"+{last}" if (last := getattr(spec, "last", 0)) else ""
    image = f"F{spec.scheme.m}" if isinstance(spec, WinogradKernel) else ""
    return " ".join(filter(None, (spec.family, image, tile, str(spec.pointers()[0]))))


def expected_text(call: Call, target: Target) -> str:
    """The time that a call is expected to take, and the rate of what bounds it."""
    spent, seconds = cost(call), expected_seconds(call, target)
    if not seconds:
        return "expected 0 us"
    gflops, bandwidth = spent.flops / seconds * 1e-9, spent.bytes / seconds * 1e-9
    rate = f"{gflops:.1f} GFLOP/s" if spent.flops > 4 * spent.bytes else f"{bandwidth:.1f} GB/s"
    return f"expected {seconds * 1e6:.3g} us: {rate}"

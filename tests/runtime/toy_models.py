"""Small models of hand-written kernels, so that these tests need neither the front end nor a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from nnefc.codegen.artefact import Artefact, assemble
from nnefc.codegen.objectfile import KernelObject, emit_object
from nnefc.codegen.spec import Barrier, KernelSpec, Launch, LaunchPlan, Pointer, Space
from nnefc.codegen.target import Target
from nnefc.codegen.weights import Weights
from nnefc.ir.types import DType, TensorType

_ADD = """
; y[i] = x[i] * w[0] + g[0], i in [begin, end)
define hidden void @{name}(ptr %x, ptr %w, ptr %y, ptr %g, i64 %begin, i64 %end) {{
entry:
  %scale = load float, ptr %w
  %bias.i = load i64, ptr %g
  %bias = sitofp i64 %bias.i to float
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %x.p = getelementptr float, ptr %x, i64 %i
  %y.p = getelementptr float, ptr %y, i64 %i
  %v = load float, ptr %x.p, align 4
  %m = fmul float %v, %scale
  %a = fadd float %m, %bias
  store float %a, ptr %y.p, align 4
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""

_SHIFT = """
; y[i] = x[(i + 1) mod g[0]]: reads what another thread wrote
define hidden void @{name}(ptr %x, ptr %y, ptr %g, i64 %begin, i64 %end) {{
entry:
  %n = load i64, ptr %g
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %next = add i64 %i, 1
  %from = urem i64 %next, %n
  %x.p = getelementptr float, ptr %x, i64 %from
  %y.p = getelementptr float, ptr %y, i64 %i
  %v = load float, ptr %x.p, align 4
  store float %v, ptr %y.p, align 4
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""

_CHECK = """
; sets the error word to g[1] where an index is not in [0, g[0])
define hidden void @{name}(ptr %x, ptr %flag, ptr %g, i64 %begin, i64 %end) {{
entry:
  %n = load i64, ptr %g
  %code.p = getelementptr i64, ptr %g, i64 1
  %code.l = load i64, ptr %code.p
  %code = trunc i64 %code.l to i32
  br label %loop
loop:
  %i = phi i64 [ %begin, %entry ], [ %next, %step ]
  %x.p = getelementptr i64, ptr %x, i64 %i
  %v = load i64, ptr %x.p, align 8
  %good = icmp ult i64 %v, %n
  br i1 %good, label %step, label %bad
bad:
  store i32 %code, ptr %flag
  br label %step
step:
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


@dataclass(frozen=True)
class IrKernel(KernelSpec):
    """A kernel given as LLVM IR instead of a Python function."""

    family: ClassVar[str] = "ir"
    name: str
    text: str
    types: tuple[DType, ...]

    def pointers(self) -> tuple[DType, ...]:
        return self.types

    def build(self, target: Target) -> Callable[..., None]:
        raise NotImplementedError("this kernel is IR")


F32, I64 = DType.F32, DType.I64
ADD = IrKernel("t_add", _ADD, (F32, F32, F32))
SHIFT = IrKernel("t_shift", _SHIFT, (F32, F32))
CHECK = IrKernel("t_check", _CHECK, (I64, DType.I32))


def x_in(index: int = 0) -> Pointer:
    return Pointer(Space.INPUT, index=index)


def y_out(index: int = 0) -> Pointer:
    return Pointer(Space.OUTPUT, index=index)


def arena(offset: int) -> Pointer:
    return Pointer(Space.ARENA, offset)


def weights_of(*values: float) -> np.ndarray:
    """Weights with each value alone in its 64 bytes."""
    table = np.zeros((max(1, len(values)), 16), np.float32)
    table[: len(values), 0] = values
    return table.reshape(-1).view(np.uint8)


def plan_of(
    steps: list[Launch | Barrier], weights: np.ndarray, *, arena_size: int = 0, state_size: int = 0, state_init: int = 0
) -> LaunchPlan:
    return LaunchPlan(tuple(steps), Weights.of(weights), arena_size, state_size, state_init, True)


def artefact_of(
    name: str, plan: LaunchPlan, inputs: dict[str, Any], outputs: dict[str, Any], target: Target | None = None
) -> Artefact:
    """Ports are given as name: (dtype, shape) or name: shape, which is f32."""
    return together(name, [(plan, inputs, outputs)], target)


def together(
    name: str, entries: list[tuple[LaunchPlan, dict[str, Any], dict[str, Any]]], target: Target | None = None
) -> Artefact:
    """Several plans over the same weights and state; ports as above."""
    target = target or Target.host()
    kernels: dict[KernelSpec, KernelObject] = {}
    for spec in {spec for plan, _, _ in entries for spec in plan.specs()}:
        assert isinstance(spec, IrKernel)
        kernels[spec] = KernelObject(spec.name, emit_object(spec.text.format(name=spec.name), target, 1), ())

    def types_of(ports: dict[str, Any]) -> list[tuple[str, TensorType]]:
        pairs = {n: p if p and isinstance(p[0], DType) else (F32, p) for n, p in ports.items()}
        return [(n, TensorType(dtype, tuple(shape))) for n, (dtype, shape) in pairs.items()]

    typed = [(plan, types_of(inputs), types_of(outputs)) for plan, inputs, outputs in entries]
    return assemble(name, typed, kernels, target)


def affine(name: str = "affine", n: int = 40, target: Target | None = None) -> Artefact:
    """y = x * 3 + 5, elementwise."""
    steps = [Launch(ADD, (x_in(), Pointer(Space.WEIGHTS, 64), y_out()), (5,), n)]
    return artefact_of(name, plan_of(steps, weights_of(7.0, 3.0)), {"x": (n,)}, {"y": (n,)}, target)


def ring(name: str = "ring", n: int = 1000, rounds: int = 20) -> Artefact:
    """y[i] = x[i + rounds], cyclically: each round reads across the threads' parts and needs its barrier."""
    size = 4 * n
    places = [x_in(), *(arena(size * (r % 2)) for r in range(rounds - 1)), y_out()]
    steps: list[Launch | Barrier] = []
    for source, to in zip(places, places[1:], strict=False):
        steps += [Launch(SHIFT, (source, to), (n,), n), Barrier()]
    return artefact_of(name, plan_of(steps, weights_of(), arena_size=2 * size), {"x": (n,)}, {"y": (n,)})


def waiting(n: int, name: str = "waiting") -> Artefact:
    """y = x + 2, the second 1 by one thread, for which the others wait at the barrier."""
    w = Pointer(Space.WEIGHTS)
    steps: list[Launch | Barrier] = [
        Launch(ADD, (x_in(), w, y_out()), (1,), n),
        Barrier(),
        Launch(ADD, (y_out(), w, y_out()), (1,), n, serial=True),
    ]
    return artefact_of(name, plan_of(steps, weights_of(1.0)), {"x": (n,)}, {"y": (n,)})


def counter(name: str = "counter", n: int = 64) -> Artefact:
    """A variable s, at first 10; y = s + x[0] (x is its own weight); then s = s + 1."""
    state, w = Pointer(Space.STATE), Pointer(Space.WEIGHTS)
    steps: list[Launch | Barrier] = [
        Launch(ADD, (state, x_in(), y_out()), (0,), n),
        Barrier(),
        Launch(ADD, (state, w, arena(0)), (1,), n),
        Barrier(),
        Launch(ADD, (arena(0), w, state), (0,), n, serial=True),
    ]
    initial = np.concatenate([weights_of(1.0), np.full(n, 10, np.float32).view(np.uint8)])
    plan = plan_of(steps, initial, arena_size=4 * n, state_size=4 * n, state_init=64)
    return artefact_of(name, plan, {"x": (1,)}, {"y": (n,)})


def picky(name: str = "picky", code: int = 1, n: int = 32) -> Artefact:
    """y = x; an error where an index is not in 0 .. 9."""
    steps: list[Launch | Barrier] = [
        Launch(CHECK, (x_in(1), Pointer(Space.FLAG)), (10, code), n),
        Launch(ADD, (x_in(0), Pointer(Space.WEIGHTS), y_out()), (0,), n),
    ]
    return artefact_of(name, plan_of(steps, weights_of(1.0)), {"x": (n,), "index": (I64, (n,))}, {"y": (n,)})


def two_out(name: str = "pair", n: int = 2000, names: tuple[str, str] = ("class", "_2 b")) -> Artefact:
    """Two inputs and two outputs of shape (2, n / 2): x + 1 and z + 2."""
    w, shape = Pointer(Space.WEIGHTS), (2, n // 2)
    steps: list[Launch | Barrier] = [
        Launch(ADD, (x_in(0), w, y_out(0)), (1,), n),
        Launch(ADD, (x_in(1), w, y_out(1)), (2,), n),
    ]
    ports = {"x": shape, "z": shape}, dict.fromkeys(names, shape)
    return artefact_of(name, plan_of(steps, weights_of(1.0)), *ports)


def rings(name: str = "rings", sizes: tuple[int, ...] = (40, 3000, 7), serial: tuple[int, ...] = (7,)) -> Artefact:
    """Entries of lengths n: y[i] = x[i + n / 2]; those in ``serial`` have one thread."""
    entries = []
    for n in sizes:
        (planned,) = ring(name, n, n // 2 or 1).planned
        plan = replace(planned.plan, parallel=n not in serial)
        entries.append((plan, {"x": (n,)}, {"y": (n,)}))
    return together(name, entries)


def counters(name: str = "counters", sizes: tuple[int, ...] = (1, 2)) -> Artefact:
    """:func:`counter` for several shapes of x, all over the same variable."""
    plan = counter().plan
    return together(name, [(plan, {"x": (n,)}, {"y": (64,)}) for n in sizes])

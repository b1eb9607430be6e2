"""Runs compiled cases on buffers between guard pages: ``guarded.py FAMILY FIRST LAST FEW SHIFT`` of the drawn cases.

Each buffer (input, output, constant, temporary) has pages of its own, what kernels only read being write-protected,
and inaccessible pages before and after it. It lies first at the end of its pages, then at their start, so that reading
or writing a single element too far faults and ends the process by a signal. Each time the cases run on their own
inputs, whose answers are checked, and on extreme ones: NaN, infinities, the largest integers, indices out of range.
With SHIFT, the last input lies so many elements too far: that must be noticed.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "ops"))

from merged import merge
from op_cases import Case
from test_compiled import FAMILIES, check, few

from nnefc.codegen import schedule
from nnefc.codegen.driver import emit_driver
from nnefc.codegen.made import Prepared
from nnefc.codegen.objectfile import load_objects
from nnefc.codegen.spec import Launch, LaunchPlan, Pointer, Space
from nnefc.codegen.target import Target
from nnefc.codegen.workers import compile_kernels
from nnefc.ir.graph import Graph
from nnefc.ir.program import Program
from nnefc.ir.view import Buffer, Role
from nnefc.passes import pipeline
from nnefc.runtime.memory import Call

PAGE = mmap.PAGESIZE
READ, WRITE = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Region:
    """Memory in which every buffer lies between guard pages; ``at_end``: right before the next one."""

    def __init__(self, buffers: Iterable[Buffer], at_end: bool):
        self.pages: dict[str, tuple[int, int]] = {}
        self.offsets: dict[str, int] = {}
        top = PAGE
        for b in buffers:
            size = -(-b.bytes // PAGE) * PAGE
            self.pages[b.name] = top, size
            self.offsets[b.name] = top + (size - b.bytes if at_end else 0)
            top += size + PAGE
        self.memory = mmap.mmap(-1, top)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.protect(0, top, 0)
        for start, size in self.pages.values():
            self.protect(start, size, READ | WRITE)

    def protect(self, start: int, size: int, access: int) -> None:
        if _libc.mprotect(self.address + start, size, access):
            raise OSError(ctypes.get_errno(), "mprotect")

    def array(self, b: Buffer) -> np.ndarray:
        """The buffer's memory, flat."""
        return np.frombuffer(self.memory, b.dtype.numpy, b.size, self.offsets[b.name])

    def freeze(self, names: Iterable[str]) -> None:
        """Let nobody write these buffers any more."""
        for name in names:
            self.protect(*self.pages[name], READ)


def planned(graph: Graph, target: Target) -> tuple[Program, LaunchPlan]:
    """The plan of a graph and the Program that it is of, as packed and folded for the target."""
    packed: list[Prepared] = []
    original = schedule.schedule_entries

    def keep(programs: Iterable[Prepared], target: Target) -> tuple[LaunchPlan, ...]:
        packed.extend(programs)
        return original(packed, target)

    schedule.schedule_entries = keep
    try:
        plan = schedule.plan(pipeline.run(graph), target)
    finally:
        schedule.schedule_entries = original
    return packed[0].whole(), plan


def replanned(program: Program, target: Target, region: Region) -> LaunchPlan:
    """The plan with every buffer but inputs and outputs where ``region`` has it: all of them offsets into the arena."""
    ports = {b.name: Pointer(Space.INPUT, 0, k) for k, b in enumerate(program.input_buffers)}
    ports |= {b.name: Pointer(Space.OUTPUT, 0, k) for k, b in enumerate(program.output_buffers)}
    places = {name: ports.get(name, Pointer(Space.ARENA, offset)) for name, offset in region.offsets.items()}
    placement = schedule._Placement(places, 0)
    original = schedule._place
    schedule._place = lambda program, storage: placement
    try:
        return replace(schedule.schedule(Prepared(program, {}), target), parallel=False)
    finally:
        schedule._place = original


class Guarded:
    """Cases as one program between guard pages."""

    def __init__(self, cases: list[Case], at_end: bool, shift: int = 0):
        graph, self.inputs = merge(cases)
        target = Target.host()
        self.program, plan = planned(graph, target)
        kernels = compile_kernels(plan.specs(), target)
        buffers = list(self.program.buffers().values())
        self.region = Region(buffers, at_end)
        last = self.program.input_buffers[-1]
        self.region.offsets[last.name] += shift * last.dtype.size
        moved = replanned(self.program, target, self.region)
        assert len([s for s in moved.steps if isinstance(s, Launch)]) == len(self.program.calls)
        symbols = {spec: kernels[spec].symbol for spec in moved.specs()}
        objects = {kernels[spec].symbol: kernels[spec].object for spec in moved.specs()}
        self.handle = load_objects([*objects.values(), emit_driver([moved], symbols, "guarded", target)])
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)
        self.function = prototype(self.handle.address("guarded_run"))
        for b in buffers:
            if b.role is Role.CONST:
                self.region.array(b)[:] = self.program.constants[b.name]
        self.region.freeze(b.name for b in buffers if b.role in (Role.CONST, Role.INPUT))

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> tuple[int, list[np.ndarray]]:
        """The status and the outputs."""
        region, program = self.region, self.program
        for port, b in zip(program.inputs, program.input_buffers, strict=True):
            region.protect(*region.pages[b.name], READ | WRITE)
            region.array(b)[:] = inputs[port.name].reshape(-1)
        region.freeze(b.name for b in program.input_buffers)
        status = self.call()
        outputs = zip(program.outputs, program.output_buffers, strict=True)
        return status, [region.array(b).reshape(port.shape).copy() for port, b in outputs]

    def call(self) -> int:
        """Run on what the buffers hold."""
        region, program = self.region, self.program
        sides = []
        for buffers in (program.input_buffers, program.output_buffers):
            sides.append((ctypes.c_void_p * len(buffers))(*(region.address + region.offsets[b.name] for b in buffers)))
        pointers = [ctypes.addressof(side) for side in sides]
        call = Call(ctypes.sizeof(Call), *pointers, region.address, region.address, region.address, 0)
        return self.function(ctypes.addressof(call), 0, 1)


def extreme(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Values that no model should feed, in the shape and type of ``x``."""
    if x.dtype.kind == "b":
        return rng.random(x.shape) < 0.5
    if x.dtype.kind == "f":
        large = float(np.finfo(x.dtype).max)
        pool = [np.nan, np.inf, -np.inf, large, -large, 2.0**31, -(2.0**31), 2.0**63, -(2.0**63), 1e-45, -0.0, 0.5]
    else:
        info = np.iinfo(x.dtype)
        pool = [info.min, info.max, info.min + 1, info.max - 1, 0, info.min // 2, info.max // 2, 1, 7]
        pool += [-1] if info.min < 0 else []
        pool += [2**31, 2**32, 2**40] if info.bits == 64 else []
    return rng.choice(np.array(pool, x.dtype), x.shape)


def main(family: str, first: int, last: int, count: int, shift: int) -> None:
    cases = (few(FAMILIES[family], count) if count else FAMILIES[family])[first:last]
    rng = np.random.default_rng(0)
    for at_end in (True, False):
        guarded = Guarded(cases, at_end, shift if at_end else -shift)
        if shift:
            guarded.call()
            continue
        status, outputs = guarded(guarded.inputs)
        assert status == 0
        for case in cases:
            check(case, [outputs.pop(0) for _ in case.graph().outputs], case.reference())
        for _ in range(4):
            guarded({name: extreme(rng, x) for name, x in guarded.inputs.items()})


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))

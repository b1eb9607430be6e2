"""The driver of a model: one function that every thread runs, which calls the kernels of a plan in order.

A model has a plan for each set of input shapes; the call says which of these entries it is of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llvmlite import ir

from nnefc.codegen.objectfile import emit_object
from nnefc.codegen.spec import BlockedLaunch, KernelSpec, Launch, LaunchPlan, Pointer, Space, Stage, Step, Tick
from nnefc.codegen.target import Target

CALL_SIZE = 64
"""Bytes of ``nnefc_call``: its size, then inputs, outputs, weights, state, arena, sync and entry."""

GROUP = 128
"""Steps in one function: LLVM takes more than twice as long for a function of twice the length."""

BAD_CALL = -1
"""What ``NAME_run`` returns, having done nothing, for a call smaller than CALL_SIZE or of an entry that is none."""

_I32, _I64, _PTR = ir.IntType(32), ir.IntType(64), ir.PointerType()
_FIELDS = {Space.INPUT: 1, Space.OUTPUT: 2, Space.WEIGHTS: 3, Space.STATE: 4, Space.ARENA: 5}
_SYNC, _ENTRY = 6, 7
_CALL = ir.LiteralStructType([_I64, *[_PTR] * 6, _I64])


def emit_driver(plans: Sequence[LaunchPlan], symbols: Mapping[KernelSpec, str], name: str, target: Target) -> bytes:
    """The object file of :func:`driver_text`."""
    return emit_object(driver_text(plans, symbols, name), target, level=1)


def driver_text(plans: Sequence[LaunchPlan], symbols: Mapping[KernelSpec, str], name: str) -> str:
    """LLVM IR of ``int32_t NAME_run(const nnefc_call *call, int32_t tid, int32_t nthreads)``; plan k is entry k.

    Undefined in it are the kernels, ``symbols`` by instance, and ``NAME_barrier`` if a plan is ``parallel``: in the
    others thread 0 does everything. It returns 0, the error code that a kernel stored, or BAD_CALL.
    """
    module = _Module(name, symbols, any(plan.parallel for plan in plans))
    run = _Run(module, f"{name}_run", len(plans))
    for entry, plan in enumerate(plans):
        barrier = module.barrier if plan.parallel else None
        groups = [plan.steps[i : i + GROUP] for i in range(0, len(plan.steps), GROUP)]
        names = (f"{name}_steps_{entry}_{i}" for i in range(len(groups)))
        run.entry(
            entry, [_Group(module, n, steps, barrier).function for n, steps in zip(names, groups, strict=True)], barrier
        )
    return str(module.ir)


class _Module:
    """What the functions of a driver share: kernels, the barrier (None: no plan has threads), tables of geometry."""

    def __init__(self, name: str, symbols: Mapping[KernelSpec, str], parallel: bool):
        self.ir = ir.Module(name=name)
        self.symbols = symbols
        self.kernels: dict[str, ir.Function] = {}
        self.tables: dict[tuple[int, ...], ir.GlobalVariable] = {}
        self.barrier = self.declare(f"{name}_barrier", [_PTR, _I32]) if parallel else None

    def declare(self, name: str, arguments: list[ir.Type]) -> ir.Function:
        """A function that another object defines."""
        function = ir.Function(self.ir, ir.FunctionType(ir.VoidType(), arguments), name)
        function.attributes.add("nounwind")
        function.linkage = "hidden"  # llvmlite prints no visibility of functions; the linkage stands in its place
        return function

    def kernel(self, launch: Launch | Stage) -> ir.Function:
        """The kernel of a launch."""
        symbol = self.symbols[launch.spec]
        if symbol not in self.kernels:
            self.kernels[symbol] = self.declare(symbol, [_PTR] * (len(launch.pointers) + 1) + [_I64, _I64])
        return self.kernels[symbol]

    def geometry(self, values: tuple[int, ...]) -> ir.Value:
        """A private constant table of int64, shared by launches of equal geometry."""
        if not values:
            return ir.Constant(_PTR, None)
        if values not in self.tables:
            type_ = ir.ArrayType(_I64, len(values))
            table = ir.GlobalVariable(self.ir, type_, f"geometry.{len(self.tables)}")
            table.linkage, table.global_constant, table.unnamed_addr = "private", True, True
            table.initializer = ir.Constant(type_, list(values))
            self.tables[values] = table
        return self.tables[values]


def _field(builder: ir.IRBuilder, call: ir.Value, index: int, type_: ir.Type) -> ir.Value:
    """A field of ``nnefc_call``."""
    at = builder.gep(call, [_I32(0), _I32(index)], inbounds=True, source_etype=_CALL)
    return builder.load(at, typ=type_)


class _Run:
    """``NAME_run``: checks the call, then runs the entry that it is of."""

    def __init__(self, module: _Module, name: str, entries: int):
        run = ir.Function(module.ir, ir.FunctionType(_I32, [_PTR, _I32, _I32]), name)
        self.call, self.tid, self.threads = run.args
        self.builder = b = ir.IRBuilder(run.append_basic_block("begin"))
        self.local = b.alloca(_I32, name="error.local")
        b.store(_I32(0), self.local)
        with b.if_then(b.icmp_unsigned("<", _field(b, self.call, 0, _I64), _I64(CALL_SIZE)), likely=False):
            b.ret(_I32(BAD_CALL))
        self.sync = _field(b, self.call, _SYNC, _PTR)
        unknown = run.append_basic_block("unknown")
        self.entries = b.switch(_field(b, self.call, _ENTRY, _I64), unknown)
        self.blocks = [run.append_basic_block(f"entry.{k}") for k in range(entries)]
        b.position_at_end(unknown)
        b.ret(_I32(BAD_CALL))

    def entry(self, number: int, groups: list[ir.Function], barrier: ir.Function | None) -> None:
        """Find the error word of an entry (a local one for a thread that is alone) and run its groups of steps."""
        b = self.builder
        self.entries.add_case(_I64(number), self.blocks[number])
        b.position_at_end(self.blocks[number])
        if barrier is None:
            with b.if_then(b.icmp_signed("!=", self.tid, _I32(0)), likely=False):
                b.ret(_I32(0))
            error: ir.Value = self.local
        else:
            error = b.select(b.icmp_signed(">", self.threads, _I32(1)), self.sync, self.local)
        for group in groups:
            b.call(group, [self.call, self.tid, self.threads, self.sync, error])
        if barrier is not None:
            b.call(barrier, [self.sync, self.threads])
        b.ret(b.load(error, typ=_I32))


class _Group:
    """One function of consecutive steps. Bases are loaded before them; all else is computed where it is used.

    Without a barrier, thread 0 does everything."""

    def __init__(self, module: _Module, name: str, steps: tuple[Step, ...], barrier: ir.Function | None):
        self.module, self.barrier = module, barrier
        self.bases: dict[tuple[Space, int], ir.Value] = {}
        self.function = ir.Function(module.ir, ir.FunctionType(ir.VoidType(), [_PTR, _I32, _I32, _PTR, _PTR]), name)
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.call, self.tid, self.threads, self.sync, self.error = self.function.args
        self.ready = self.function.append_basic_block("ready")
        self.builder = ir.IRBuilder(self.ready)
        self.tid64 = self.builder.zext(self.tid, _I64)
        self.threads64 = self.builder.zext(self.threads, _I64)
        self.first = self.builder.icmp_signed("==", self.tid, _I32(0))
        self.builder.branch(self.function.append_basic_block("steps"))
        self.builder.position_at_end(self.function.blocks[-1])
        for step in steps:
            if isinstance(step, Launch):
                self._launch(step)
            elif isinstance(step, Tick):
                self._tick(step)
            elif barrier is not None:
                self.builder.call(barrier, [self.sync, self.threads])
        self.builder.ret_void()

    def _launch(self, launch: Launch) -> None:
        """Call a kernel with this thread's part of the units, if there is one."""
        b, all_units = self.builder, (_I64(0), _I64(launch.units))
        if launch.units <= 0:
            return
        if self.barrier is None:
            self._call_kernel(launch, *all_units)
        elif launch.serial or launch.units == 1:
            with b.if_then(self.first):
                self._call_kernel(launch, *all_units)
        else:
            begin, end = self._part(launch.units)
            with b.if_then(b.icmp_unsigned("<", begin, end)):
                self._call_kernel(launch, begin, end)

    def _tick(self, tick: Tick) -> None:
        known = self.module.ir.globals.get(tick.counter)
        counter = known or ir.Function(self.module.ir, ir.FunctionType(_I64, []), tick.counter)
        place = self._operand(tick.pointer)
        with self.builder.if_then(self.first):
            self.builder.store(self.builder.call(counter, []), place)

    def _part(self, units: int) -> tuple[ir.Value, ir.Value]:
        """The units of this thread: all threads get units // nthreads, the first units % nthreads one more."""
        b = self.builder
        each, rest = b.udiv(_I64(units), self.threads64), b.urem(_I64(units), self.threads64)
        extra = b.icmp_unsigned("<", self.tid64, rest)
        begin = b.add(b.mul(each, self.tid64), b.select(extra, self.tid64, rest))
        return begin, b.add(begin, b.add(each, b.zext(extra, _I64)))

    def _call_kernel(self, launch: Launch, begin: ir.Value, end: ir.Value) -> None:
        if isinstance(launch, BlockedLaunch):
            self._call_blocks(launch, begin, end)
            return
        operands = [self._operand(p) for p in launch.pointers]
        geometry = self.module.geometry(launch.geometry)
        self.builder.call(self.module.kernel(launch), [*operands, geometry, begin, end])

    def _call_blocks(self, launch: BlockedLaunch, begin: ir.Value, end: ir.Value) -> None:
        """Call the kernels of a blocked launch for the blocks of a range of units."""
        b, items, units = self.builder, _I64(launch.items), _I64(launch.units)
        first, last = (b.udiv(b.mul(unit, items), units) for unit in (begin, end))
        before, body, after = b.block, *(self.function.append_basic_block(f"blocks.{n}") for n in ("one", "done"))
        b.cbranch(b.icmp_unsigned("<", first, last), body, after)
        b.position_at_end(body)
        item = b.phi(_I64)
        item.add_incoming(first, before)
        places = self._places(launch, item)
        for stage in launch.stages:
            operands = []
            for pointer, steps, part in zip(stage.pointers, stage.steps, stage.parts, strict=True):
                shift = b.mul(begin, _I64(part))
                for place, step in zip(places, steps, strict=True):
                    shift = b.add(shift, b.mul(place, _I64(step)))
                operands.append(b.gep(self._operand(pointer), [shift], source_etype=ir.IntType(8)))
            geometry = self.module.geometry(stage.geometry)
            b.call(self.module.kernel(stage), [*operands, geometry, _I64(0), _I64(stage.units)])
        following = b.add(item, _I64(1))
        item.add_incoming(following, b.block)
        b.cbranch(b.icmp_unsigned("<", following, last), body, after)
        b.position_at_end(after)

    def _places(self, launch: BlockedLaunch, item: ir.Value) -> list[ir.Value]:
        """The index of each loop, and the first row, of a block."""
        b, blocks = self.builder, _I64(math.ceil(launch.rows / launch.block))
        row, rest = b.mul(b.urem(item, blocks), _I64(launch.block)), b.udiv(item, blocks)
        end = _I64(launch.rows - launch.block)
        places = [b.select(b.icmp_unsigned("<", row, end), row, end)]
        for extent in reversed(launch.extents):
            places.append(b.urem(rest, _I64(extent)))
            rest = b.udiv(rest, _I64(extent))
        return places[::-1]

    def _operand(self, pointer: Pointer) -> ir.Value:
        if pointer.space is Space.FLAG:
            return self.error
        base = self._base(pointer)
        if pointer.offset == 0:
            return base
        return self.builder.gep(base, [_I64(pointer.offset)], inbounds=True, source_etype=ir.IntType(8))

    def _base(self, pointer: Pointer) -> ir.Value:
        """Where a space begins; loaded once, in the block that comes before every step."""
        key = pointer.space, pointer.index
        if key not in self.bases:
            with self.builder.goto_block(self.ready):
                base = _field(self.builder, self.call, _FIELDS[pointer.space], _PTR)
                if pointer.space in (Space.INPUT, Space.OUTPUT):
                    at = self.builder.gep(base, [_I64(pointer.index)], inbounds=True, source_etype=_PTR)
                    base = self.builder.load(at, typ=_PTR)
                self.bases[key] = base
        return self.bases[key]

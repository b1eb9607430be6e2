"""The driver of a model: one function that every thread runs, which calls the kernels of a plan in order."""

from __future__ import annotations

from collections.abc import Mapping

from llvmlite import ir

from nnefc.codegen.objectfile import emit_object
from nnefc.codegen.spec import Barrier, KernelSpec, Launch, LaunchPlan, Pointer, Space
from nnefc.codegen.target import Target

CALL_SIZE = 56
"""Bytes of ``nnefc_call``: its size, then inputs, outputs, weights, state, arena and sync."""

BAD_CALL = -1
"""What ``NAME_run`` returns, having done nothing, for a call smaller than CALL_SIZE."""

_I32, _I64, _PTR = ir.IntType(32), ir.IntType(64), ir.PointerType()
_FIELDS = {Space.INPUT: 1, Space.OUTPUT: 2, Space.WEIGHTS: 3, Space.STATE: 4, Space.ARENA: 5}
_SYNC = 6
_CALL = ir.LiteralStructType([_I64, *[_PTR] * 6])


def emit_driver(plan: LaunchPlan, symbols: Mapping[KernelSpec, str], name: str, target: Target) -> bytes:
    """The object file of :func:`driver_text`."""
    return emit_object(driver_text(plan, symbols, name), target, level=1)


def driver_text(plan: LaunchPlan, symbols: Mapping[KernelSpec, str], name: str) -> str:
    """LLVM IR of ``int32_t NAME_run(const nnefc_call *call, int32_t tid, int32_t nthreads)``.

    Undefined in it are the kernels, ``symbols`` by instance, and ``NAME_barrier`` if ``plan.parallel``: otherwise
    thread 0 does everything. It returns 0, the error code that a kernel stored, or BAD_CALL.
    """
    return str(_Driver(plan, symbols, name).module)


class _Driver:
    """Builds the module. Operands and parts are computed where they are used; bases are loaded before the steps."""

    def __init__(self, plan: LaunchPlan, symbols: Mapping[KernelSpec, str], name: str):
        self.module = ir.Module(name=name)
        self.symbols = symbols
        self.parallel = plan.parallel
        self.kernels: dict[str, ir.Function] = {}
        self.tables: dict[tuple[int, ...], ir.GlobalVariable] = {}
        self.bases: dict[tuple[Space, int], ir.Value] = {}
        run = ir.Function(self.module, ir.FunctionType(_I32, [_PTR, _I32, _I32]), f"{name}_run")
        self.call, self.tid, self.threads = run.args
        self.call.name, self.tid.name, self.threads.name = "call", "tid", "nthreads"
        self.builder = ir.IRBuilder(run.append_basic_block("entry"))
        self.barrier_function = self._hidden(f"{name}_barrier", [_PTR, _I32]) if plan.parallel else None
        self._enter()
        self.ready = self._next_block("ready")
        self._next_block("steps")
        for step in plan.steps:
            if isinstance(step, Barrier):
                self._barrier()
            else:
                self._launch(step)
        self._leave()

    def _next_block(self, name: str) -> ir.Block:
        block = self.builder.append_basic_block(name)
        self.builder.branch(block)
        self.builder.position_at_end(block)
        return block

    def _hidden(self, name: str, arguments: list[ir.Type]) -> ir.Function:
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), arguments), name)
        function.attributes.add("nounwind")
        function.linkage = "hidden"  # llvmlite prints no visibility of functions; the linkage stands in its place
        return function

    def _field(self, index: int, type_: ir.Type) -> ir.Value:
        at = self.builder.gep(self.call, [_I32(0), _I32(index)], inbounds=True, source_etype=_CALL)
        return self.builder.load(at, typ=type_)

    def _enter(self) -> None:
        """Check the call's size; find who we are, and the error word: a local one for a thread that is alone."""
        b = self.builder
        local = b.alloca(_I32, name="error.local")
        b.store(_I32(0), local)
        good = b.icmp_unsigned(">=", self._field(0, _I64), _I64(CALL_SIZE))
        with b.if_then(b.not_(good), likely=False):
            b.ret(_I32(BAD_CALL))
        self.several = b.icmp_signed(">", self.threads, _I32(1), name="several")
        self.first = b.icmp_signed("==", self.tid, _I32(0), name="first")
        self.sync = self._field(_SYNC, _PTR) if self.parallel else None
        self.error = b.select(self.several, self.sync, local, name="error") if self.parallel else local
        self.tid64 = b.zext(self.tid, _I64, name="tid64")
        self.threads64 = b.zext(self.threads, _I64, name="nthreads64")
        if not self.parallel:
            with b.if_then(b.not_(self.first), likely=False):
                b.ret(_I32(0))

    def _leave(self) -> None:
        if self.parallel:
            self._barrier()
        self.builder.ret(self.builder.load(self.error, typ=_I32))

    def _barrier(self) -> None:
        if self.barrier_function is not None:
            self.builder.call(self.barrier_function, [self.sync, self.threads])

    def _launch(self, launch: Launch) -> None:
        """Call a kernel with this thread's part of the units, if there is one."""
        if launch.units <= 0:
            return
        b = self.builder
        if not self.parallel:
            self._call_kernel(launch, _I64(0), _I64(launch.units))
        elif launch.serial or launch.units == 1:
            with b.if_then(self.first):
                self._call_kernel(launch, _I64(0), _I64(launch.units))
        else:
            begin, end = self._part(launch.units)
            with b.if_then(b.icmp_unsigned("<", begin, end)):
                self._call_kernel(launch, begin, end)

    def _part(self, units: int) -> tuple[ir.Value, ir.Value]:
        """The units of this thread: all threads get units // nthreads, the first units % nthreads one more."""
        b = self.builder
        each, rest = b.udiv(_I64(units), self.threads64), b.urem(_I64(units), self.threads64)
        extra = b.icmp_unsigned("<", self.tid64, rest)
        begin = b.add(b.mul(each, self.tid64), b.select(extra, self.tid64, rest))
        return begin, b.add(begin, b.add(each, b.zext(extra, _I64)))

    def _call_kernel(self, launch: Launch, begin: ir.Value, end: ir.Value) -> None:
        symbol = self.symbols[launch.spec]
        if symbol not in self.kernels:
            self.kernels[symbol] = self._hidden(symbol, [_PTR] * (len(launch.pointers) + 1) + [_I64, _I64])
        operands = [self._operand(p) for p in launch.pointers]
        self.builder.call(self.kernels[symbol], [*operands, self._geometry(launch.geometry), begin, end])

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
                base = self._field(_FIELDS[pointer.space], _PTR)
                if pointer.space in (Space.INPUT, Space.OUTPUT):
                    at = self.builder.gep(base, [_I64(pointer.index)], inbounds=True, source_etype=_PTR)
                    base = self.builder.load(at, typ=_PTR)
                self.bases[key] = base
        return self.bases[key]

    def _geometry(self, values: tuple[int, ...]) -> ir.Value:
        """A private constant table of int64, shared by launches of equal geometry."""
        if not values:
            return ir.Constant(_PTR, None)
        if values not in self.tables:
            type_ = ir.ArrayType(_I64, len(values))
            table = ir.GlobalVariable(self.module, type_, f"geometry.{len(self.tables)}")
            table.linkage, table.global_constant, table.unnamed_addr = "private", True, True
            table.initializer = ir.Constant(type_, list(values))
            self.tables[values] = table
        return self.tables[values]

"""From a kernel's Python function to LLVM IR, by Numba's front end. Nothing else touches Numba's internals.

Numba is used for typing and lowering only: its optimiser, its execution engine, its wrappers for CPython and its
run-time library are left out, and LLVM is run on the result for the kernel's own target. That changes Numba for the
whole process, so this module is imported in worker processes only.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

from numba.core import cgutils, compiler, cpu, entrypoints, errors, types, typing, utils
from numba.core.codegen import CPUCodegen, CPUCodeLibrary
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.core.typing.templates import AbstractTemplate, Signature, make_intrinsic_template

from nnefc.codegen.device import Device, Instruction
from nnefc.codegen.llvm import llvm
from nnefc.codegen.spec import KernelSpec
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError
from nnefc.ir.types import DType

_ELEMENTS = {
    DType.F16: types.uint16,
    DType.BF16: types.uint16,
    DType.F32: types.float32,
    DType.F64: types.float64,
    DType.BOOL: types.uint8,
} | {t: getattr(types, f"{'u' if t.kind == 'u' else ''}int{t.bits}") for t in DType if t.kind in "iu"}


class _Library(CPUCodeLibrary):
    """The IR of one compiled function, as text, and the libraries of what it calls. Nothing is run or optimised."""

    def __init__(self, codegen: CPUCodegen, name: str):
        super().__init__(codegen, name)
        self.texts: list[str] = []

    @property
    def linked(self) -> list[_Library]:
        """The libraries of the functions that this one calls."""
        return [x for x in self._linking_libraries if isinstance(x, _Library)]

    def add_ir_module(self, ir_module: Any) -> None:
        self._raise_if_finalized()
        self.texts.append(cgutils.normalize_ir_text(str(ir_module)))

    def finalize(self) -> None:
        self._raise_if_finalized()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """No function has an address: none is run."""
        return 0


class _Codegen(CPUCodegen):
    """Makes libraries that hold text."""

    _library_class = _Library

    def _customize_tm_options(self, options: dict[str, Any]) -> None:
        options.update(reloc="pic", codemodel="default", features="")

    def _customize_tm_features(self) -> str:
        return ""

    def _add_module(self, module: Any) -> None:
        """There is no execution engine to add to."""

    def set_env(self, name: str, env: Any) -> None:
        """There is no environment: generated code never calls back into Python."""


class _Context(cpu.CPUContext):
    """Numba's CPU context without its run-time library."""

    _internal_codegen: Any

    def init(self) -> None:
        super().init()
        self._internal_codegen = _Codegen("nnefc")

    def post_lowering(self, mod: Any, library: Any) -> None:
        """Numba would link its run-time library here."""


@functools.cache
def _contexts() -> tuple[Any, Any]:
    """The typing and the target context, put in the place of Numba's own so that its overloads end up here too.

    Extensions of Numba that other packages register are left out: they could change what a kernel compiles to.
    """
    rtsys._init = True
    entrypoints._already_initialized = True
    typing_context = cpu_target.typing_context
    target_context = _Context(typing_context, "cpu")
    cpu_target.__dict__["_toplevel_target_context"] = target_context
    if cpu_target.target_context is not target_context:
        raise NnefcError("this version of Numba keeps its target context in another place")
    target_context.refresh()
    typing_context.refresh()
    return typing_context, target_context


def prepare() -> None:
    """Do what the first kernel would else wait for: load Numba's typing rules and lowerings."""
    _contexts()


def _flags(inline: bool) -> compiler.Flags:
    flags: Any = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.nrt = False
    flags.boundscheck = False
    flags.error_model = "numpy"
    flags.forceinline = inline
    return flags


def _compile(function: Callable[..., Any], args: tuple[Any, ...], result: Any, inline: bool) -> Any:
    typing_context, target_context = _contexts()
    return compiler.compile_extra(typing_context, target_context, function, args, result, _flags(inline), {})


def device_type(function: Device) -> Any:
    """The Numba type of a device function: calls of it compile it for their argument types."""
    compiled: dict[tuple[Any, ...], Signature | None] = {}

    def generic(self: AbstractTemplate, args: tuple[Any, ...], kws: dict[str, Any]) -> Signature:
        signature = utils.pysignature(function.function)
        folded = tuple(
            typing.fold_arguments(
                signature,
                args,
                kws,
                lambda index, parameter, value: value,
                lambda index, parameter, default: types.Omitted(default),
                lambda index, parameter, values: types.StarArgTuple(values),
            )
        )
        if folded not in compiled:
            compiled[folded] = None
            try:
                result = _compile(function.function, folded, None, function.inline)
            except BaseException:
                del compiled[folded]
                raise
            compiled[folded] = result.signature.replace(pysig=signature)
            _contexts()[1].insert_user_function((function, folded), result.fndesc, [result.library])
        found = compiled[folded]
        if found is None:
            raise errors.TypingError(f"{function!r} calls itself")
        return found

    def get_impl_key(self: AbstractTemplate, signature: Signature) -> tuple[Device, tuple[Any, ...]]:
        return function, signature.args

    members = {"key": function, "generic": generic, "get_impl_key": get_impl_key}
    return types.Function(type(f"Device_{function.function.__name__}", (AbstractTemplate,), members))


def instruction_type(instruction: Instruction) -> Any:
    """The Numba type of an instruction."""
    return types.Function(make_intrinsic_template(instruction, instruction.define, instruction.meaning.__name__))


def _collect(library: _Library) -> Iterable[str]:
    """The texts of a library and of all that it links, each once."""
    seen: dict[int, _Library] = {}
    todo = [library]
    while todo:
        one = todo.pop()
        if id(one) not in seen:
            seen[id(one)] = one
            todo += one.linked
    return (text for one in seen.values() for text in one.texts)


def _retarget(text: str, triple: str, layout: str) -> str:
    text = re.sub(r"^target triple = .*$", f'target triple = "{triple}"', text, flags=re.MULTILINE)
    text = re.sub(r"^target datalayout = .*$", f'target datalayout = "{layout}"', text, flags=re.MULTILINE)
    return re.sub(r'"target-(cpu|features)"="[^"]*"', "", text)


def _entry(symbol: str, callee: str, pointers: int) -> str:
    """A function of C's calling convention around one of Numba's, whose results and errors have nowhere to go."""
    pointer_names = [f"%p{i}" for i in range(pointers)] + ["%g"]
    params = ", ".join([f"ptr {p}" for p in pointer_names] + ["i64 %begin", "i64 %end"])
    types_ = ", ".join(["ptr"] * (len(pointer_names) + 2) + ["i64", "i64"])
    return (
        f'declare i32 @"{callee}"({types_})\n'
        f"define void @{symbol}({params}) {{\n"
        "  %result = alloca ptr\n  %error = alloca ptr\n"
        f'  %status = call i32 @"{callee}"(ptr %result, ptr %error, {params})\n'
        "  ret void\n}\n"
    )


def kernel_ir(spec: KernelSpec, target: Target, symbol: str) -> str:
    """One LLVM module, not optimised, that defines ``void SYMBOL(ptr..., ptr g, i64 begin, i64 end)`` for a target.

    All else that it defines is internal. Raises NnefcError if the function is not what :class:`KernelSpec` asks for;
    Numba's own errors pass through.
    """
    elements = [types.CPointer(_ELEMENTS[t]) for t in spec.pointers()]
    args = (types.BaseTuple.from_types(elements), types.CPointer(types.int64), types.intp, types.intp)
    function = spec.build(target)
    if isinstance(function, Device):
        function = function.function
    result = _compile(function, args, None, inline=True)
    if result.signature.return_type != types.none:
        raise NnefcError(f"the kernel {spec!r} returns {result.signature.return_type}; it must return nothing")
    layout = str(target.machine().target_data)
    module = llvm().parse_assembly(_entry(symbol, result.fndesc.llvm_func_name, len(elements)))
    module.triple, module.data_layout = target.triple, layout
    for text in _collect(result.library):
        module.link_in(llvm().parse_assembly(_retarget(text, target.triple, layout)))
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration:
            if value.name == symbol:
                value.visibility = "hidden"
            else:
                value.linkage = "internal"
    return str(module)

"""The one place that starts LLVM, and what LLVM is asked about triples, CPUs and their features."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import threading
from types import ModuleType
from typing import Any

from nnefc.errors import NnefcError

_lock = threading.Lock()
_ready = False

_HELP = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import llvmlite.binding as llvm
llvm.initialize_all_targets()
llvm.Target.from_triple(sys.argv[2]).create_target_machine(features="+help")
"""

_TRY = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import llvmlite.binding as llvm
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
machine = llvm.Target.from_triple(sys.argv[2]).create_target_machine(
    cpu=sys.argv[3], features=sys.argv[4], abiname=sys.argv[5])
machine.emit_object(llvm.parse_assembly(
    "define double @f(ptr %p, double %x) { %y = load double, ptr %p\\n %z = fadd double %x, %y\\n ret double %z }"))
"""


def llvm() -> ModuleType:
    """``llvmlite.binding``, imported and with every target initialised at the first call."""
    global _ready
    import llvmlite.binding as binding

    with _lock:
        if not _ready:
            binding.initialize_all_targets()
            binding.initialize_all_asmprinters()
            _ready = True
    return binding


def create_machine(triple: str, cpu: str, features: str, **options: Any) -> Any:
    """An llvmlite ``TargetMachine``. Raises ValueError for a triple that LLVM has no back end for.

    LLVM ends the process on some unknown names: those not from LLVM itself are checked first with :func:`names` and
    :func:`try_machine`.
    """
    try:
        target = llvm().Target.from_triple(triple)
    except RuntimeError as e:
        raise ValueError(str(e)) from e
    return target.create_target_machine(cpu=cpu, features=features, abiname=_abi(triple), **options)


def _abi(triple: str) -> str:
    return "lp64d" if triple.startswith("riscv64") else ""


@functools.cache
def names(triple: str) -> tuple[frozenset[str], frozenset[str]]:
    """The CPUs and the features that LLVM knows for a triple; it only prints them, so a child process is asked."""
    text = _child(_HELP, triple).stderr
    cpus, _, features = text.partition("Available features")
    entry = re.compile(r"^  (\S+)\s+- ", re.MULTILINE)
    found = frozenset(entry.findall(cpus)), frozenset(entry.findall(features))
    if not all(found):
        raise NnefcError(f"LLVM lists no CPUs for the triple {triple!r}: {text[-500:]}")
    return found


@functools.cache
def try_machine(triple: str, cpu: str, features: str) -> str | None:
    """What LLVM has against this combination, or None. It may end the process, so a child process tries."""
    done = _child(_TRY, triple, cpu, features, _abi(triple))
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["LLVM gave up"])[-1]


def _child(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", code, json.dumps([p for p in sys.path if isinstance(p, str)]), *args]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@functools.cache
def supported_features(triple: str, cpu: str, features: str, candidates: tuple[str, ...]) -> frozenset[str]:
    """Those of ``candidates`` (feature names of LLVM) that a CPU with these extra features has.

    LLVM inlines a function only where the caller has every feature of the callee. Each callee here has one candidate
    more than its caller: the calls that are gone show the candidates that were there already.
    """
    text = [f'target triple = "{triple}"']
    for i, name in enumerate(candidates):
        more = f"{features},+{name}" if features else f"+{name}"
        text.append(
            f'define internal i32 @callee{i}(i32 %x) "target-cpu"="{cpu}" "target-features"="{more}" '
            f"{{ %y = xor i32 %x, {i + 1}\n ret i32 %y }}\n"
            f'define i32 @caller{i}(i32 %x) "target-cpu"="{cpu}" "target-features"="{features}" '
            f"{{ %y = call i32 @callee{i}(i32 %x)\n ret i32 %y }}"
        )
    module = llvm().parse_assembly("\n".join(text))
    optimise(module, create_machine(triple, cpu, features), level=1)
    callers = (str(module.get_function(f"caller{i}")) for i in range(len(candidates)))
    return frozenset(name for name, caller in zip(candidates, callers, strict=True) if " call " not in caller)


def optimise(module: Any, machine: Any, level: int = 3) -> None:
    """Run LLVM's ``-O<level>`` pipeline over a module, in place.

    Loops are not unrolled: the body of a kernel's inner loop uses most registers, and two of them would spill.
    """
    binding = llvm()
    options = binding.create_pipeline_tuning_options(speed_level=level)
    options.loop_unrolling = False
    builder = binding.create_pass_builder(machine, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)


@functools.cache
def library_calls(triple: str, cpu: str, features: str) -> frozenset[str]:
    """Which of ``fma``, ``rounding`` and ``f16c`` this CPU does by calls of library functions."""
    module = llvm().parse_assembly(
        f'target triple = "{triple}"\n'
        "define <4 x float> @a(<4 x float> %x) {"
        " %y = call <4 x float> @llvm.fma.v4f32(<4 x float> %x, <4 x float> %x, <4 x float> %x)\n"
        " ret <4 x float> %y }\n"
        "define <4 x float> @b(<4 x float> %x) "
        "{ %y = call <4 x float> @llvm.floor.v4f32(<4 x float> %x)\n ret <4 x float> %y }\n"
        "define <4 x float> @c(ptr %p) "
        "{ %x = load <4 x half>, ptr %p\n %y = fpext <4 x half> %x to <4 x float>\n ret <4 x float> %y }\n"
        "declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)\n"
        "declare <4 x float> @llvm.floor.v4f32(<4 x float>)\n"
    )
    asm = create_machine(triple, cpu, features, opt=1).emit_assembly(module)
    calls = {"fma": r"\bfmaf\b", "rounding": r"\bfloorf\b", "f16c": r"\b__(extendhfsf2|gnu_h2f_ieee)\b"}
    return frozenset(name for name, pattern in calls.items() if re.search(pattern, asm))

"""Object files: from LLVM IR by LLVM's pipeline, what symbols they hold, and how they are linked and loaded."""

from __future__ import annotations

from typing import Any

from nnefc.codegen.llvm import llvm, optimise
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError


def emit_object(module: Any, target: Target, level: int = 3) -> bytes:
    """The object file that LLVM's ``-O<level>`` pipeline makes of a module for a target.

    ``module`` is IR as text, an llvmlite ``ir.Module`` or a parsed module (which is changed). Raises NnefcError if the
    IR is wrong.
    """
    binding = llvm()
    try:
        parsed = module if isinstance(module, binding.ModuleRef) else binding.parse_assembly(str(module))
        machine = target.machine()
        parsed.triple, parsed.data_layout = target.triple, str(machine.target_data)
        parsed.verify()
    except RuntimeError as e:
        raise NnefcError(f"LLVM does not accept the code made for {target}: {e}") from e
    optimise(parsed, machine, level)
    return bytes(machine.emit_object(parsed))

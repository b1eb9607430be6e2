"""How much of a Program runs on integers, and what of a quantized network stays with floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nnefc.codegen.cost import multiply_adds
from nnefc.ir.program import Call, Program
from nnefc.ir.types import DType
from nnefc.ir.view import Role


@dataclass(frozen=True)
class Execution:
    """The multiply-adds of a call of a network, those of them that are of integers, and the names of the operations
    that read floats which others compute; none of these where nothing is quantized."""

    multiply_adds: int
    on_integers: int
    islands: tuple[str, ...]

    @property
    def share(self) -> float:
        """The part of the multiply-adds that run on integers; 0 where there are none."""
        return self.on_integers / self.multiply_adds if self.multiply_adds else 0.0

    def record(self, execution: str) -> dict[str, object]:
        """What a manifest says of it; ``execution`` is what was asked."""
        return {
            "mode": execution,
            "multiply_adds": self.multiply_adds,
            "on_integers": self.on_integers,
            "islands": list(self.islands),
        }


def execution_of(program: Program) -> Execution:
    """How a Program, after all passes, is executed."""
    total = {c: multiply_adds(c) for c in program.calls}
    integers = sum(n for c, n in total.items() if c.reads() and c.reads()[0].dtype.kind != "f")
    quantized = any(b.dtype in (DType.U8, DType.I8) for b in program.buffers().values() if b.role is Role.TEMP)
    return Execution(sum(total.values()), integers, tuple(dict.fromkeys(_islands(program))) if quantized else ())


def _islands(program: Program) -> Iterator[str]:
    """Names of the calls that read computed floats."""
    for c in program.calls:
        if any(v.dtype.kind == "f" and v.buffer.role in (Role.TEMP, Role.STATE) for v in c.reads()):
            yield _name(c)


def _name(c: Call) -> str:
    return next(iter(c.origin.names), c.writes()[0].buffer.name)

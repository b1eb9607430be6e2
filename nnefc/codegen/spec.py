"""What select hands to the rest of the code generator: kernel instances and the order in which to launch them."""

from __future__ import annotations

import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from nnefc.codegen.target import Target
from nnefc.codegen.weights import Weights
from nnefc.ir.program import Call
from nnefc.ir.types import DType


class Access(enum.Enum):
    """How an operand lies along the lanes of a vector: one element for all, neighbours, every second one, or a stride
    apart; or that it is a table, whose elements expressions look up."""

    SAME = "same"
    UNIT = "unit"
    SECOND = "second"
    STRIDED = "strided"
    TABLE = "table"


@dataclass(frozen=True)
class Operand:
    """What is constant about a tile operand: its element type, its access along the lanes, and whether it ``moves``
    from row to row of the tile."""

    dtype: DType
    access: Access
    moves: bool = False


class KernelSpec(ABC):
    """One kernel instance: a frozen dataclass of everything that is constant when the kernel is compiled.

    Its ``repr`` is its identity in caches, so it must name every field. The kernel is the function

        kernel(p, g, begin, end)

    with ``p`` a tuple of pointers to elements of the types ``pointers()``, ``g`` a pointer to int64 geometry (extents,
    strides, in elements) and ``begin``, ``end`` the range of work units to do. (As machine code it has one argument per
    pointer: a tuple is passed as its elements.) It returns nothing, allocates nothing and raises nothing; a BOOL
    element is a byte of 0 or 1.
    """

    family: ClassVar[str]

    @abstractmethod
    def pointers(self) -> tuple[DType, ...]:
        """The element type of each pointer operand, in order."""

    @abstractmethod
    def build(self, target: Target) -> Callable[..., None]:
        """The Python function that Numba compiles for ``target``; it also runs un-jitted in tests where it can."""


class OperandKernel(KernelSpec):
    """A kernel whose pointers are its ``operands``, in order."""

    operands: tuple[Operand, ...]

    def pointers(self) -> tuple[DType, ...]:
        return tuple(o.dtype for o in self.operands)


class Space(enum.Enum):
    """Where a pointer operand lies. INPUT and OUTPUT are numbered; FLAG is the call's int32 error word."""

    INPUT = "input"
    OUTPUT = "output"
    WEIGHTS = "weights"
    STATE = "state"
    ARENA = "arena"
    FLAG = "flag"


@dataclass(frozen=True)
class Pointer:
    """An operand of a launch: ``offset`` bytes into a space; ``index`` says which input or output."""

    space: Space
    offset: int = 0
    index: int = 0


@dataclass(frozen=True)
class Launch:
    """One kernel call: units 0 .. ``units`` are divided over the threads, or all done by thread 0 if ``serial``.

    ``call`` is what it does, for those who tell about it."""

    spec: KernelSpec
    pointers: tuple[Pointer, ...]
    geometry: tuple[int, ...]
    units: int
    serial: bool = False
    call: Call | None = field(default=None, compare=False)

    @property
    def family(self) -> str:
        """What is said of its kernel in short."""
        return self.spec.family

    def specs(self) -> tuple[KernelSpec, ...]:
        """The kernel instances that it calls."""
        return (self.spec,)


@dataclass(frozen=True)
class Stage:
    """A kernel call that is made for every block of a :class:`BlockedLaunch`: all its ``units``, with every pointer
    moved by its ``steps`` in bytes, for an index of each loop and then for a row. The bytes of a unit's ``part`` lie
    between the scratch memory of two units; 0 for operands elsewhere."""

    spec: KernelSpec
    pointers: tuple[Pointer, ...]
    geometry: tuple[int, ...]
    units: int
    steps: tuple[tuple[int, ...], ...]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class BlockedLaunch(Launch):
    """Several kernels, one after the other, block by block; ``spec`` is that of the first.

    The items of work are the blocks of every index of loops of the ``extents``: of ``rows`` in all, ``block`` to a
    block, the last overlapping the one before. A unit is a run of them, done in its own part of scratch memory; a range
    of units uses that of its first."""

    stages: tuple[Stage, ...] = ()
    extents: tuple[int, ...] = ()
    rows: int = 1
    block: int = 1

    @property
    def family(self) -> str:
        return "chain"

    def specs(self) -> tuple[KernelSpec, ...]:
        return tuple(dict.fromkeys(stage.spec for stage in self.stages))

    @property
    def items(self) -> int:
        """How many blocks there are in all."""
        return math.prod(self.extents) * math.ceil(self.rows / self.block)


@dataclass(frozen=True)
class Tick:
    """Thread 0 stores an even counter of the machine at ``pointer``, as int64: what ``counter``, an intrinsic of LLVM
    without arguments, reads."""

    pointer: Pointer
    counter: str


@dataclass(frozen=True)
class Barrier:
    """All threads must have done the launches before it."""


Step = Launch | Barrier | Tick
"""What a driver does, in order."""


@dataclass(frozen=True, eq=False)
class LaunchPlan:
    """A whole driver: its steps, and the memory that it works in.

    ``weights`` is the content of weights.bin (every tensor aligned to 64 bytes). ``state_init`` is the (offset,
    size) in it of the initial state, of ``state_size`` bytes in all. Sizes are in bytes. ``parallel`` is False where
    more threads than one would not pay.
    """

    steps: tuple[Step, ...]
    weights: Weights
    arena_size: int
    state_size: int
    state_init: int
    parallel: bool

    def specs(self) -> tuple[KernelSpec, ...]:
        """The distinct kernel instances, in order of first use."""
        return tuple(dict.fromkeys(spec for s in self.steps if isinstance(s, Launch) for spec in s.specs()))

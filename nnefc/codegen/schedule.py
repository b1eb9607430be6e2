"""From a Program to a LaunchPlan: memory is placed, kernels are selected, and barriers put where data pass."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nnefc.codegen.arena import place_temporaries
from nnefc.codegen.chain import Chain, chained
from nnefc.codegen.cost import expected_seconds
from nnefc.codegen.layout import lay_out
from nnefc.codegen.made import Prepared
from nnefc.codegen.pack import common_cuts, pack
from nnefc.codegen.scale import scale_weights
from nnefc.codegen.select import Choice, select
from nnefc.codegen.spec import Barrier, BlockedLaunch, KernelSpec, Launch, LaunchPlan, Pointer, Space, Stage, Step
from nnefc.codegen.storage import Storage, share_constants
from nnefc.codegen.target import Target
from nnefc.codegen.ways import RULES, Ways
from nnefc.codegen.weights import Constant, Weights
from nnefc.codegen.winograd import common_sizes, use_winograd
from nnefc.errors import UnsupportedError
from nnefc.ir.build import MAX_MEMORY
from nnefc.ir.graph import Origin
from nnefc.ir.program import Call, Program
from nnefc.ir.relocate import disjoint
from nnefc.ir.types import DType
from nnefc.ir.view import Role, View

SERIAL_SECONDS = 1.5e-6
"""Kernels that are expected to take less stay on one thread."""
PARALLEL_SECONDS = 20e-6
"""A whole network that is expected to take less runs on one thread."""

MAX_WORK = 1 << 50
"""Elements that the kernels of a Program may touch in one call."""

MAX_KERNELS = 1 << 12
"""Kernel instances that a Program may need."""

_CONSTANT = (Role.CONST, Role.TABLE)

Range = tuple[Space, int, int, int]
"""A space, its number, and the bytes from and to which a view reaches."""


def plan(program: Program, target: Target, *, small: bool = False, ways: Ways = RULES) -> LaunchPlan:
    """The launches of a lowered Program: its calls are prepared, kernels selected, memory placed."""
    return plan_entries([program], target, small=small, ways=ways)[0]


def plan_entries(
    programs: list[Program], target: Target, *, small: bool = False, ways: Ways = RULES
) -> tuple[LaunchPlan, ...]:
    """:func:`plan` of lowered Programs of one network, for several shapes of its inputs, that become one artefact.

    Weights that they have in common are packed alike, so that they are stored once. The list is emptied, so that the
    Programs' constants are let go of before the weights are put together."""
    return schedule_entries(_prepared(programs, target, small, ways), target)


def prepare(program: Program, target: Target, *, small: bool = False, ways: Ways = RULES) -> Prepared:
    """A lowered Program as :func:`schedule` takes it: contractions as kernels do them, their weights to be packed.

    With ``small``, packed weights take no more room than the network's own. ``ways`` override the rules."""
    return next(_prepared([program], target, small, ways))


def _prepared(programs: list[Program], target: Target, small: bool, ways: Ways) -> Iterator[Prepared]:
    """Each Program as :func:`prepare` gives it; the list is emptied."""
    shared = list(share_constants(programs))
    programs.clear()
    sizes = {} if small else common_sizes(shared, target, ways)
    cuts = common_cuts(shared, target, small)
    while shared:
        laid_out = lay_out(use_winograd(shared.pop(0), target, sizes), target, ways)
        packed = pack(laid_out, target, cuts, small, ways)
        yield Prepared.of(chained(scale_weights(packed)))


def schedule(program: Prepared, target: Target) -> LaunchPlan:
    """The launches of a prepared Program, in order, and the memory that they work in; raises what
    :func:`schedule_entries` does."""
    return schedule_entries([program], target)[0]


def schedule_entries(programs: Iterable[Prepared], target: Target) -> tuple[LaunchPlan, ...]:
    """The launches of prepared Programs of one network, and the memory that they work in; weights and state are common.

    Raises UnsupportedError for one that needs more than MAX_MEMORY, MAX_WORK or MAX_KERNELS, and for variables that
    depend on the shapes of the inputs."""
    storage = Storage()
    drafts = [_schedule(program, target, storage) for program in programs]
    del programs
    weights, state_init = storage.image()
    return tuple(
        replace(draft, weights=weights, state_size=storage.state_size, state_init=state_init) for draft in drafts
    )


def _schedule(prepared: Prepared, target: Target, storage: Storage) -> LaunchPlan:
    """The launches of one Program; what they keep is added to ``storage``."""
    program = prepared.program
    placement = _place(prepared, storage)
    steps: list[Step] = []
    hazards = _Hazards()
    total, seconds = 0, 0.0
    specs: set[KernelSpec] = set()
    for call in program.calls:
        launch = _launch(call, target, placement)
        specs.update(launch.specs())
        if len(specs) > MAX_KERNELS:
            message = f"the network needs more than {MAX_KERNELS} different kernels; so many are not supported"
            raise UnsupportedError(message).at(call.origin.location)
        expected = expected_seconds(call, target)
        seconds += expected
        total += call.elements()
        if total > MAX_WORK:
            message = f"a call would read and write {total} elements or more; at most {MAX_WORK} are supported"
            raise UnsupportedError(message).at(call.origin.location)
        if hazards.meet(call, placement):
            steps.append(Barrier())
        steps.append(replace(launch, serial=expected < SERIAL_SECONDS))
    return LaunchPlan(tuple(steps), Weights((), 0), placement.arena, 0, 0, seconds >= PARALLEL_SECONDS)


def _launch(call: Call, target: Target, placement: _Placement) -> Launch:
    """The launch of a call, not serial."""
    if isinstance(call, Chain):
        return _blocked(call, target, placement)
    choice = select(call, target)
    return Launch(choice.spec, _pointers(choice, placement), choice.geometry, choice.units, call=call)


def _blocked(call: Chain, target: Target, placement: _Placement) -> BlockedLaunch:
    """The launch of a Chain: its kernels for the first block, and how far others are from it, which the blocks one
    index, or one row, further tell."""
    loops = [d for d, n in enumerate(call.kept[:-1]) if n > 1]
    moves = [*loops, len(call.kept) - 1] if call.blocks > 1 else loops
    origin = (0,) * len(call.kept)
    neighbours = [call.block(tuple(int(d == k) for k in range(len(origin)))) for d in moves]
    stages = []
    for n, one in enumerate(call.block(origin)):
        choice = select(one, target)
        others = [select(calls[n], target) for calls in neighbours]
        assert all((c.spec, c.geometry, c.units) == (choice.spec, choice.geometry, choice.units) for c in others)
        steps, parts = [], []
        for k, view in enumerate(choice.views):
            moved = [(c.views[k].offset - view.offset) * view.dtype.size for c in others]
            steps.append((*moved, *(0,) * (len(loops) + 1 - len(moved))))
            parts.append(call.part * view.dtype.size if view.buffer == call.scratch.buffer else 0)
        pointers = _pointers(choice, placement)
        stages.append(Stage(choice.spec, pointers, choice.geometry, choice.units, tuple(steps), tuple(parts)))
    extents = tuple(call.kept[d] for d in loops)
    first = stages[0]
    return BlockedLaunch(first.spec, (), (), call.units, False, call, tuple(stages), extents, call.kept[-1], call.rows)


def _pointers(choice: Choice, placement: _Placement) -> tuple[Pointer, ...]:
    pointers = [placement.pointer(v) for v in choice.views]
    wanted = choice.spec.pointers()
    if len(wanted) == len(pointers) + 1 and wanted[-1] is DType.I32:
        pointers.append(Pointer(Space.FLAG))
    return tuple(pointers)


@dataclass
class _Placement:
    """Where every buffer lies."""

    places: dict[str, Pointer]
    arena: int

    def pointer(self, view: View) -> Pointer:
        base = self.places[view.buffer.name]
        return Pointer(base.space, base.offset + view.offset * view.dtype.size, base.index)

    def range(self, view: View) -> Range:
        """Space, number, and the bytes from and to which the view reaches."""
        base = self.places[view.buffer.name]
        low, high = view.span
        size = view.dtype.size
        return base.space, base.index, base.offset + low * size, base.offset + high * size


def _place(prepared: Prepared, storage: Storage) -> _Placement:
    program = prepared.program
    constants: dict[str, Constant] = {**program.constants, **prepared.made}
    places = {b.name: Pointer(Space.INPUT, 0, k) for k, b in enumerate(program.input_buffers)}
    places |= {b.name: Pointer(Space.OUTPUT, 0, k) for k, b in enumerate(program.output_buffers)}
    for b in program.buffers().values():
        if b.role in _CONSTANT:
            places[b.name] = Pointer(Space.WEIGHTS, storage.constant(constants[b.name]))
    states = {b.name: program.states[b.name] for b in program.buffers().values() if b.role is Role.STATE}
    places |= {name: Pointer(Space.STATE, offset) for name, offset in storage.states(states).items()}
    temps, arena = place_temporaries(program)
    _check_memory(program, storage.weights_size + storage.state_size + arena)
    places |= {name: Pointer(Space.ARENA, offset) for name, offset in temps.items()}
    return _Placement(places, arena)


def _check_memory(program: Program, own: int) -> None:
    """Raise UnsupportedError if inputs, outputs and ``own`` bytes take more than MAX_MEMORY together."""
    ports = program.input_buffers + program.output_buffers
    total = own + sum(b.bytes for b in ports)
    if total <= MAX_MEMORY:
        return
    writers = {v.buffer.name: call for call in reversed(program.calls) for v in call.writes()}
    largest = max(program.buffers().values(), key=lambda b: b.bytes)
    message = f"the network needs {total} bytes of memory, {largest.bytes} of them for {largest.name!r}"
    origin = writers[largest.name].origin if largest.name in writers else Origin()
    raise UnsupportedError(f"{message}; at most {MAX_MEMORY} are supported").at(origin.location)


class _Ranges:
    """A set of bytes in several spaces, as disjoint ranges."""

    def __init__(self) -> None:
        self._spaces: dict[tuple[Space, int], tuple[list[int], list[int]]] = {}

    def touch(self, ranges: Iterable[Range]) -> bool:
        """Whether one of the ranges has a byte in the set."""
        for space, index, low, high in ranges:
            starts, ends = self._spaces.get((space, index), ((), ()))
            k = bisect_right(ends, low)
            if k < len(starts) and starts[k] < high:
                return True
        return False

    def add(self, ranges: Iterable[Range]) -> None:
        """Take ranges in."""
        for space, index, low, high in ranges:
            starts, ends = self._spaces.setdefault((space, index), ([], []))
            i, j = bisect_left(ends, low), bisect_right(starts, high)
            if i < j:
                low, high = min(low, starts[i]), max(high, ends[j - 1])
            starts[i:j], ends[i:j] = [low], [high]


MANY_ACCESSES = 64
"""Beyond so many views since the last barrier, those that share a buffer are not told apart by their elements."""


class _Hazards:
    """What was read and written since the last barrier."""

    def __init__(self) -> None:
        self._reads, self._writes = _Accesses(), _Accesses()

    def meet(self, call: Call, placement: _Placement) -> bool:
        """Whether the call must wait for what came since the last barrier; takes the call in."""
        reads = [(v, placement.range(v)) for v in call.reads() if v.buffer.role not in _CONSTANT]
        writes = [(v, placement.range(v)) for v in call.writes() if v.buffer.role not in _CONSTANT]
        clash = self._writes.touch(reads) or self._writes.touch(writes) or self._reads.touch(writes)
        if clash:
            self._reads, self._writes = _Accesses(), _Accesses()
        self._reads.add(reads)
        self._writes.add(writes)
        return clash


class _Accesses:
    """Views and the bytes that they may reach."""

    def __init__(self) -> None:
        self._ranges = _Ranges()
        self._views: list[tuple[View, Range]] = []

    def touch(self, accesses: Sequence[tuple[View, Range]]) -> bool:
        """Whether one of the accesses may reach an element that a view of these reaches."""
        if not self._ranges.touch(where for _, where in accesses):
            return False
        if len(self._views) > MANY_ACCESSES:
            return True
        return any(_meet(one, other) for one in accesses for other in self._views)

    def add(self, accesses: Sequence[tuple[View, Range]]) -> None:
        """Take accesses in."""
        self._ranges.add(where for _, where in accesses)
        self._views += accesses


def _meet(one: tuple[View, Range], other: tuple[View, Range]) -> bool:
    """Whether two views may reach the same byte: in the same buffer by their elements, else by their ranges."""
    (view, (*space, low, high)), (second, (*second_space, start, end)) = one, other
    if space != second_space or high <= start or end <= low:
        return False
    return view.buffer != second.buffer or not disjoint(view, second)

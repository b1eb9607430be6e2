"""What a program uses: load, compile, evaluate, save, load_compiled. Heavy parts are imported when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nnefc import runtime
from nnefc.codegen.options import EXECUTION, OPTIMIZE, PRECISION, WEIGHTS, Options
from nnefc.errors import UnsupportedError
from nnefc.ir.graph import Graph

if TYPE_CHECKING:
    from nnefc.codegen.artefact import Artefact
    from nnefc.codegen.ways import Ways
    from nnefc.ir.program import Port, Program
    from nnefc.ir.types import TensorType

Path = str | os.PathLike[str]
Shapes = Mapping[str, int | Sequence[int]]
"""Shapes of inputs by name; extents of symbols by theirs, as a number or a sequence of one."""


def load(
    path: Path,
    *,
    shapes: Shapes | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    strict: bool = False,
    notes: list[str] | None = None,
) -> Graph:
    """Read a model: NNEF as a folder, a bare ``graph.nnef``, or an archive (``.tar``, ``.tgz``, ``.tar.gz``, ``.zip``);
    or an ``.onnx`` file.

    ``shapes`` replaces the shapes of inputs, by name; for ONNX and tract's dialect it may also give the extents of
    symbols, as ``{"N": 8}``. ``constants`` binds inputs of an ONNX model to values: they are inputs no longer. Unless
    ``strict``, common departures from NNEF 1.0.5 are accepted and a line about each is added to ``notes``; so is what
    was assumed of an ONNX model.

    Raises InvalidModelError, UnsupportedError, ValueError for constants of an NNEF model, and TypeError for shapes that
    are no mapping from names to shapes.
    """
    extents = _extents(shapes)
    if os.fspath(path).lower().endswith(".onnx"):
        from nnefc.formats.onnx import load as read_onnx

        return read_onnx(path, shapes=extents, constants=constants, strict=strict, notes=notes)
    if constants:
        raise ValueError("constants bind inputs of ONNX models, but this is an NNEF model")
    from nnefc.formats.nnef import load as read

    return read(path, shapes=extents, strict=strict, notes=notes)


def _extents(shapes: Shapes | None) -> dict[str, tuple[int, ...]]:
    """Shapes as tuples. Raises TypeError for what is no mapping to shapes."""
    if not isinstance(shapes, Mapping | None):
        raise TypeError(f"shapes must map names to shapes, not be a {type(shapes).__name__}; compile takes several")
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in (shapes or {}).items():
        if isinstance(shape, str) or not isinstance(shape, int | np.integer | Iterable):
            raise TypeError(f"the shape of {name!r} must be a sequence of numbers, not {shape!r}")
        found[name] = (int(shape),) if isinstance(shape, int | np.integer) else tuple(shape)
    return found


def save(graph: Graph, path: Path) -> None:
    """Write a network: as ONNX if the name ends in ``.onnx``, else as NNEF, an archive if the name ends like one, else
    a folder. Raises UnsupportedError for what the format cannot say and OSError."""
    if os.fspath(path).lower().endswith(".onnx"):
        from nnefc.formats.onnx import save as write_onnx

        return write_onnx(graph, path)
    from nnefc.formats.nnef import save as write

    write(graph, path)


def evaluate(
    graph: Graph,
    inputs: Mapping[str, np.ndarray],
    state: MutableMapping[str, np.ndarray] | None = None,
    *,
    execution: str = EXECUTION,
    precision: str = PRECISION[0],
) -> dict[str, np.ndarray]:
    """The outputs by name that the NumPy meaning of each operation gives; slow, and what compiled code is held to.

    ``state`` holds, by label in lower case, what ``update`` operations keep from call to call; without it each call
    starts from the stored values. ``execution`` says how a quantized network is computed, as for :func:`compile`; what
    runs on integers is exact, so that compiled code gives the same codes. With ``precision="f16"`` weights and tensors
    are rounded where :func:`compile` holds them in f16; what bf16 rounds depends on the target.

    Raises TypeError or ValueError if an input is missing, unknown, or of another dtype or shape than the network's, or
    if an index tensor holds an index out of range; InvalidModelError for impossible encodings and ValueError for
    another ``execution`` or ``precision``.
    """
    from nnefc.passes.reference import evaluate as interpret

    if precision not in PRECISION[:2]:
        raise ValueError(f"precision is {precision!r}; the reference has {' or '.join(PRECISION[:2])}")
    return interpret(graph, inputs, state, execution, precision)


class Model(runtime.Model):
    """A compiled network: ``model(x)``, ``model(name=x)``, ``model(x, out=y)``; see :class:`nnefc.runtime.Model`.

    One made by :func:`compile` for another machine can be saved, but not called.
    """

    _artefact: Artefact | None = None

    @property
    def target(self) -> str:
        """What it was compiled for, as ``TRIPLE:CPU+feature``."""
        return str(self._made().target)

    def save(self, directory: Path) -> None:
        """Write it as an importable package; the folder's name becomes the package's.

        The folder appears whole or not at all; it may exist if it is empty or a compiled package. Raises ValueError for
        a name that Python cannot import, FileExistsError if the folder holds something else, UnsupportedError if there
        is no linker, and if the model was loaded by :func:`load_compiled`: copy its folder instead.
        """
        from nnefc.codegen.artefact import write_package

        write_package(self._made(), directory)

    @property
    def execution(self) -> dict[str, object]:
        """Of a quantized network: ``mode`` as asked, ``multiply_adds`` of a call, those ``on_integers``, and
        ``islands``, the names of operations that read floats which others compute. Empty for any other."""
        return dict(self._made().execution)

    def _made(self) -> Artefact:
        if self._artefact is None:
            raise UnsupportedError(f"{self.name} was loaded from a compiled folder; copy that folder")
        return self._artefact


class _ForeignModel(Model):
    """A model for another machine, or for instructions that this one lacks."""

    def __init__(self, artefact: Artefact, why: UnsupportedError):
        self.name, self.entries = artefact.name, artefact.entries
        self.inputs, self.outputs = artefact.entries[0].inputs, artefact.entries[0].outputs
        self._artefact, self._why = artefact, why

    def __call__(self, *arrays: np.ndarray, out: Any = None, **named: np.ndarray) -> Any:
        """Raises UnsupportedError."""
        raise UnsupportedError(self._why.message)

    def reset(self) -> None:
        """There is no state here."""


def compile(
    model: Path | Graph | Sequence[Graph],
    *,
    shapes: Shapes | Sequence[Shapes] | None = None,
    constants: Mapping[str, np.ndarray] | None = None,
    threads: int | None = None,
    target: str = "host",
    taps: Sequence[str] = (),
    fast_math: bool = False,
    tune: bool = False,
    optimize: str = OPTIMIZE[0],
    weights: str = WEIGHTS[0],
    precision: str = PRECISION[0],
    execution: str = EXECUTION,
    notes: list[str] | None = None,
) -> Model:
    """Compile a network to machine code.

    ``model`` is a path, read by :func:`load` with ``shapes`` and ``constants``, or a Graph; ``shapes`` replaces the
    shapes of its inputs, by name. ``threads`` is the most threads that a call uses (default: one for each CPU
    available). ``target`` is ``"host"`` or ``"TRIPLE:CPU+feature"``, as LLVM names them. ``taps`` names tensors that
    become outputs too, after the network's own. ``optimize`` is ``"speed"`` or ``"size"``: weights then take no more
    room than the network's own: no convolution is done by Winograd's algorithm, no panel is filled up. ``weights`` is
    the type in which constant weights of convolutions and matrix products are kept, ``"f32"``, ``"f16"`` or ``"bf16"``,
    each rounded once and computed with in f32, or ``"stored"``: f16 for those that f16 holds exactly in a network that
    stores any so, f32 for all others. A line about each tensor that the type cannot hold, and
    that so stays as it is, is added to ``notes``.

    With ``precision="f16"`` tensors between kernels are kept in f16, rounded to nearest even as they are stored, values
    beyond 65504 to infinity, and so are ``"stored"`` weights; arithmetic is in f32. With ``precision="bf16"``
    convolutions and matrix products by constant weights multiply numbers rounded to bf16 and add up in f32, and what
    they read is kept so between kernels; ``notes`` gets a line about each that stays in f32, as image tiles are faster
    or its neighbours make no pairs, and one where the CPU has no such products: results are as exact there, but no
    sooner. With ``fast_math`` functions of f32 (exp, sigmoid, tanh, erf) are good to about 13 bits
    instead of 2 ulp. With ``tune`` several ways to do convolutions and matrix products are timed on this machine, with
    ``threads`` threads, and what was found is kept for the next time: without it the result depends on the model and
    the target alone.

    ``execution`` says how a quantized network is computed: ``"integer"`` on codes of 8 bits wherever kernels can,
    ``"float"`` with every encoded tensor pseudo-quantized, which is what NNEF means by encodings, and ``"ignore"`` as
    if computed tensors had none. ``notes`` gets a line about every tensor and product that stays with floats though
    ``"integer"`` was asked.

    Several sets of shapes, as a list, give a model with several entries over the same weights and variables; a call
    takes the one that its inputs' shapes are of. So do several Graphs: one network, read with several sets of shapes.

    Raises InvalidModelError for a faulty model, UnsupportedError for an operation or a target that cannot be compiled
    and for entries that differ in more than shapes, and ValueError for a tap that does not exist, for an input of a
    Graph that does not, for two sets of the same shapes, for constants with a Graph, and for another ``optimize``,
    ``weights``, ``precision`` or ``execution``.
    """
    from nnefc.codegen.artefact import load_artefact

    options = Options(threads, target, taps, fast_math, tune, optimize, weights, precision, execution)
    artefact = build(_graphs(model, shapes, constants), options, notes)
    try:
        artefact.target.check_host()
    except UnsupportedError as error:
        return _ForeignModel(artefact, error)
    made = load_artefact(artefact, threads, Model)
    assert isinstance(made, Model)
    made._artefact = artefact
    return made


def build(graphs: Sequence[Graph], options: Options, notes: list[str] | None = None) -> Artefact:
    """What :func:`compile` makes of one network's Graphs, before it is loaded: enough to write a package, with weights
    that go straight to their file. Raises what :func:`compile` raises of a Graph."""
    from nnefc.codegen.artefact import assemble
    from nnefc.codegen.execution import execution_of
    from nnefc.codegen.precision import lowered
    from nnefc.codegen.schedule import plan_entries
    from nnefc.codegen.ways import RULES
    from nnefc.codegen.workers import compile_kernels
    from nnefc.passes.encode import is_quantized
    from nnefc.progress import bar

    cpu, said = options.cpu, list[str]()
    programs = [lowered(graph, options, said) for graph in graphs]
    if notes is not None:
        notes += dict.fromkeys(said)
    ports = [(_types(program.inputs), _types(program.outputs)) for program in programs]
    name = programs[0].name
    executed = execution_of(programs[0]).record(options.execution) if any(map(is_quantized, graphs)) else None
    ways = _tuned(programs, options) if options.tune else RULES
    plans = plan_entries(programs, cpu, small=options.small, ways=ways)
    with bar("compiling kernels") as report:
        specs = dict.fromkeys(spec for plan in plans for spec in plan.specs())
        kernels = compile_kernels(tuple(specs), cpu, progress=report)
    entries = [(plan, *sides) for plan, sides in zip(plans, ports, strict=True)]
    artefact = assemble(name, entries, kernels, cpu)
    return artefact if executed is None else replace(artefact, execution=executed)


def _tuned(programs: Sequence[Program], options: Options) -> Ways:
    from nnefc.codegen.tune import tune
    from nnefc.progress import bar

    with bar("trying ways") as report:
        return tune(programs, options.cpu, small=options.small, threads=options.threads, progress=report)


def _graphs(
    model: Path | Graph | Sequence[Graph],
    shapes: Shapes | Sequence[Shapes] | None,
    constants: Mapping[str, np.ndarray] | None,
) -> Sequence[Graph]:
    """The Graph of each entry. Raises what :func:`compile` raises."""
    from nnefc.ops.inference import with_input_shapes

    sets = [shapes or {}] if shapes is None or isinstance(shapes, Mapping) else list(shapes)
    if not sets:
        raise ValueError("shapes is an empty list; None takes the shapes that the model has")
    if isinstance(model, (str, os.PathLike)):
        return [load(model, shapes=given, constants=constants) for given in sets]
    if constants:
        raise ValueError("constants bind inputs while an ONNX model is read; this is a Graph")
    if isinstance(model, Graph):
        return [with_input_shapes(model, _extents(given)) for given in sets]
    if shapes is not None or not model:
        raise ValueError("shapes are for one Graph, not for several" if shapes else "there is no Graph to compile")
    return model


def _types(ports: Sequence[Port]) -> list[tuple[str, TensorType]]:
    from nnefc.ir.types import TensorType

    return [(port.name, TensorType(port.dtype, port.shape)) for port in ports]


def load_compiled(directory: Path, *, threads: int | None = None) -> Model:
    """The model in a folder that :meth:`Model.save` or ``nnefc compile`` wrote; ``threads`` as for :func:`compile`.

    Raises InvalidModelError if the folder is damaged and UnsupportedError if this machine cannot run it.
    """
    from nnefc.codegen.artefact import load_package

    made = load_package(directory, threads, Model)
    assert isinstance(made, Model)
    return made

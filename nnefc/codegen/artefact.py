"""From a launch plan and its kernels to what a user calls: a model in this process, or a package on disk."""

from __future__ import annotations

import hashlib
import importlib.metadata
import keyword
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import TypeVar

from nnefc.codegen.driver import emit_driver
from nnefc.codegen.header import header_text, plain
from nnefc.codegen.objectfile import KernelObject, link_shared, load_objects
from nnefc.codegen.pool import emit_pool, entry_points
from nnefc.codegen.spec import KernelSpec, Launch, LaunchPlan
from nnefc.codegen.target import Target
from nnefc.errors import InvalidModelError, Location, UnsupportedError
from nnefc.files import whole_folder
from nnefc.ir.types import TensorType
from nnefc.runtime import Code, Entry, Model, PackageError, PlatformError, Port, manifest, package

_T = TypeVar("_T")

MAX_THREADS = 256
"""The most threads that a call is divided over."""

_INIT = Template('''\
"""$name: a neural network compiled by nnefc $version for $cpu.

    import $name
    $results = $name($arguments)

$ports

``model`` has the rest: ``model.inputs``, ``model.outputs``, $more``model.reset()``, ``model.threads``.
"""

import os
import sys
import types

from ._runtime import load

model = load(os.path.dirname(__file__))


class _Callable(types.ModuleType):
    __call__ = staticmethod(model.__call__)


sys.modules[__name__].__class__ = _Callable
''')


Ports = Iterable[tuple[str, TensorType]]


@dataclass(frozen=True, eq=False)
class PlannedEntry:
    """A plan, and the ports that its INPUT and OUTPUT spaces are, in order."""

    plan: LaunchPlan
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def max_threads(self) -> int:
        """How many threads can share the work."""
        if not self.plan.parallel:
            return 1
        units = (s.units for s in self.plan.steps if isinstance(s, Launch) and not s.serial)
        return min(MAX_THREADS, max(units, default=1))

    @property
    def entry(self) -> Entry:
        """What the run-time knows of it."""
        return Entry(self.inputs, self.outputs, self.plan.arena_size, self.max_threads)


@dataclass(frozen=True, eq=False)
class Artefact:
    """A compiled model, ready to be loaded or written: a plan for each set of input shapes, over the same weights and
    state, and the kernels by instance."""

    name: str
    planned: tuple[PlannedEntry, ...]
    kernels: Mapping[KernelSpec, KernelObject]
    target: Target
    execution: Mapping[str, object] = field(default_factory=dict)
    """What the manifest says of how a quantized network is computed."""

    @property
    def plan(self) -> LaunchPlan:
        """The first entry's; the weights and the state are those of all."""
        return self.planned[0].plan

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What the run-time knows of the entries."""
        return tuple(planned.entry for planned in self.planned)

    @property
    def max_threads(self) -> int:
        """How many threads can share the work."""
        return max(planned.max_threads for planned in self.planned)

    def objects(self, name: str) -> list[bytes]:
        """All object files of the model, its functions being called ``name_run`` and so on; kernels first."""
        plans = [replace(planned.plan, parallel=planned.max_threads > 1) for planned in self.planned]
        used = {spec: self.kernels[spec] for plan in plans for spec in plan.specs()}
        symbols = {spec: kernel.symbol for spec, kernel in used.items()}
        kernels = {kernel.symbol: kernel.object for kernel in used.values()}
        pool = emit_pool(name, self.target, self.max_threads > 1)
        return [*kernels.values(), emit_driver(plans, symbols, name, self.target), pool]


def assemble(
    name: str,
    entries: Iterable[tuple[LaunchPlan, Ports, Ports]],
    kernels: Mapping[KernelSpec, KernelObject],
    target: Target,
) -> Artefact:
    """The artefact of plans over the same weights and state, each with the tensors that its INPUT and OUTPUT spaces
    are, in order.

    Raises UnsupportedError unless all entries have inputs and outputs of the same names and element types, and
    ValueError if two have inputs of the same shapes.
    """
    planned = [PlannedEntry(plan, _ports(inputs), _ports(outputs)) for plan, inputs, outputs in entries]
    _check_entries(planned)
    return Artefact(name, tuple(planned), kernels, target)


def _check_entries(planned: Sequence[PlannedEntry]) -> None:
    first = planned[0]
    seen = set()
    for p in planned:
        for ours, others, what in ((p.inputs, first.inputs, "inputs"), (p.outputs, first.outputs, "outputs")):
            kinds = [[f"{port.name}: {port.dtype}" for port in side] for side in (others, ours)]
            if kinds[0] != kinds[1]:
                both = " and ".join(f"({', '.join(kind)})" for kind in kinds)
                raise UnsupportedError(f"the {what} of two sets of shapes differ in more than shapes: {both}")
        if p.entry.shapes in seen:
            raise ValueError(f"two sets of shapes give the inputs the same shapes: {', '.join(map(str, p.inputs))}")
        seen.add(p.entry.shapes)


def _ports(side: Ports) -> tuple[Port, ...]:
    return tuple(_port(name, type_) for name, type_ in side)


def _port(name: str, type_: TensorType) -> Port:
    return Port(name, type_.dtype.numpy, type_.extents)


def load_artefact(artefact: Artefact, threads: int | None = None, kind: type[Model] = Model) -> Model:
    """The model in this process, of the class ``kind``; ``threads`` as for :class:`Model`.

    Raises UnsupportedError if this CPU cannot run it.
    """
    artefact.target.check_host()
    name = artefact.name if artefact.name.isidentifier() and artefact.name.isascii() else "model"
    handle = load_objects(artefact.objects(name))
    plan = artefact.plan
    entries = artefact.entries
    code = Code(name, entries, plan.weights.array(), plan.state_size, plan.state_init, handle.address, handle)
    return kind(code, threads)


def write_package(artefact: Artefact, directory: str | os.PathLike[str]) -> None:
    """Write the model as an importable package; the folder's name becomes the package's.

    The folder appears whole or not at all. It may exist if it is empty or holds a package and nothing else. Equal
    artefacts give equal bytes. Raises ValueError if its name is none that Python could import, FileExistsError if it
    holds something else, and UnsupportedError if there is no linker.
    """
    name = package_name(directory)
    final = Path(os.path.realpath(directory))
    _check_replaceable(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(final) as made:
        _write_files(artefact, name, made)


def package_name(directory: str | os.PathLike[str]) -> str:
    """The name under which Python would import a folder. Raises ValueError if it could not, or takes another module."""
    name = Path(os.path.abspath(directory)).name
    if not (name.isascii() and name.isidentifier()) or keyword.iskeyword(name):
        raise ValueError(f"{name!r} cannot be imported: the folder of a package is named by a Python identifier")
    if name in sys.stdlib_module_names or name in ("numpy", "nnefc"):
        raise ValueError(f"a package named {name!r} would hide the module of that name")
    return name


def _check_replaceable(directory: Path) -> None:
    """Raises FileExistsError if there is anything but an empty folder or an unaltered list of a package's files."""
    if not os.path.lexists(directory):
        return
    if not directory.is_dir():
        raise FileExistsError(f"{directory} exists and is no folder")
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if not p.is_dir() or p.is_symlink()}
    if not present:
        return
    try:
        listed = {manifest.FILE, *manifest.read(str(directory)).files}
    except PackageError as e:
        raise FileExistsError(f"{directory} exists and holds no compiled package ({e})") from e
    foreign = sorted(p for p in present - listed if "__pycache__" not in p.split("/"))
    if foreign:
        raise FileExistsError(f"{directory} holds files that are not of the package: {', '.join(foreign[:5])}")


def _write_files(artefact: Artefact, name: str, directory: Path) -> None:
    plan, target = artefact.plan, artefact.target
    library = directory / f"{name}.so"
    with ThreadPoolExecutor(1) as beside:
        written = beside.submit(plan.weights.write, directory / "weights.bin")
        link_shared(artefact.objects(name), library, target, entry_points(name, artefact.max_threads > 1))
    hashes = {"weights.bin": written.result()}
    header = header_text(name, plan, artefact.entries, target)
    (directory / f"{name}.h").write_text(header)
    (directory / "__init__.py").write_text(_init_text(artefact, name))
    _copy_runtime(directory / "_runtime")
    files = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    content = _manifest_content(artefact, name) | {
        "files": {f: _file_content(directory / f, hashes.get(f)) for f in files}
    }
    (directory / manifest.FILE).write_bytes(manifest.encode(content))


def _copy_runtime(directory: Path) -> None:
    directory.mkdir()
    for source in sorted(Path(package.__file__).parent.glob("*.py")):
        (directory / source.name).write_bytes(source.read_bytes())


def _init_text(artefact: Artefact, name: str) -> str:
    first, several = artefact.entries[0], len(artefact.entries) > 1
    return _INIT.substitute(
        name=name,
        version=_version("nnefc"),
        cpu=artefact.target,
        arguments=", ".join(f"x{i}" if i else "x" for i in range(len(first.inputs))),
        results=", ".join(f"y{i}" if i else "y" for i in range(len(first.outputs))),
        ports="\n\n".join(map(_ports_text, artefact.entries)),
        more="``model.entries``, " if several else "",
    )


def _ports_text(entry: Entry) -> str:
    ports = [("input", p) for p in entry.inputs] + [("output", p) for p in entry.outputs]
    return "\n".join(f"    {role} {plain(str(p.name))}: {p.dtype}{list(p.shape)}" for role, p in ports)


def _manifest_content(artefact: Artefact, name: str) -> dict[str, object]:
    plan, target = artefact.plan, artefact.target
    return {
        "format": manifest.FORMAT,
        "name": name,
        "entries": [_entry_content(e) for e in artefact.entries],
        "target": {
            "triple": target.triple,
            "machine": target.arch,
            "cpu": target.cpu,
            "features": list(target.features),
            "cpu_flags": list(target.cpu_flags),
            "fast_math": target.fast_math,
        },
        "state": {"size": plan.state_size, "init": plan.state_init},
        **({"execution": dict(artefact.execution)} if artefact.execution else {}),
        "versions": {tool: _version(tool) for tool in ("nnefc", "numba", "llvmlite")},
    }


def _entry_content(entry: Entry) -> dict[str, object]:
    return {
        "inputs": [_port_content(p) for p in entry.inputs],
        "outputs": [_port_content(p) for p in entry.outputs],
        "arena": entry.arena_size,
        "max_threads": entry.max_threads,
    }


def _port_content(port: Port) -> dict[str, object]:
    return {"name": port.name, "dtype": port.dtype.name, "shape": list(port.shape)}


def _file_content(path: Path, digest: str | None) -> dict[str, object]:
    """A file's size and its SHA-256, which is ``digest`` if that is known."""
    return {"size": path.stat().st_size, "sha256": digest or hashlib.sha256(path.read_bytes()).hexdigest()}


def _version(tool: str) -> str:
    if tool == "nnefc":
        from nnefc import __version__

        return __version__
    return importlib.metadata.version(tool)


def load_package(directory: str | os.PathLike[str], threads: int | None = None, kind: type[Model] = Model) -> Model:
    """The model of a compiled package, of the class ``kind``; ``threads`` as for :class:`Model`.

    Raises InvalidModelError if it is damaged, and UnsupportedError if it cannot run here.
    """
    return _translated(directory, lambda path: package.load(path, threads, kind))


def verify_package(directory: str | os.PathLike[str]) -> manifest.Manifest:
    """Check every byte of a compiled package. Raises InvalidModelError that names each fault."""
    return _translated(directory, package.verify)


def _translated(directory: str | os.PathLike[str], action: Callable[[str], _T]) -> _T:
    """``action`` on a package, with its errors as ours, which say where."""
    path = os.fspath(directory)
    try:
        return action(path)
    except PlatformError as e:
        raise UnsupportedError(str(e), Location(path)) from e
    except PackageError as e:
        raise InvalidModelError(str(e), Location(path)) from e

"""What importers work with: operations are added to the Graph, or computed at once where all operands are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError, UnboundError, UnsupportedError
from nnefc.formats.onnx import narrow
from nnefc.formats.onnx.builder import Builder, dtype_of
from nnefc.formats.onnx.registry import Anything, Imported, Node
from nnefc.formats.onnx.tensors import numpy_type
from nnefc.ir import syntax as ast
from nnefc.ir.graph import Literal, Op, Origin, Value
from nnefc.ir.signature import Param
from nnefc.ir.types import DType, TensorType
from nnefc.ops import elementwise, elementwise_extension
from nnefc.ops.primitive import primitives
from nnefc.ops.signatures import signature

MAX_FOLDED = 1 << 22
"""Elements of the largest result that is computed at import."""
_MAX_WORK = 1 << 26
"""Elements of the result times those of the largest operand, for operations that may use each with each."""
_LINEAR = frozenset(row.name for row in (*elementwise.ROWS, *elementwise_extension.ROWS)) | frozenset(
    "cast reshape squeeze unsqueeze transpose split unstack concat stack slice pad tile gather gather_elements "
    "gather_nd sum_reduce mean_reduce prod_reduce max_reduce min_reduce argmax_reduce argmin_reduce all_reduce "
    "any_reduce".split()
)
"""Operations that look at each element a few times only."""

Input = Imported | Literal | float | int | bool


class Scope:
    """The tensors that a graph, or a nested one, may use by name, and the operations to make new ones.

    Errors that its methods raise are given the node's name by whoever runs the importer.
    """

    def __init__(
        self,
        builder: Builder,
        run_graph: Callable[..., list[Any]],
        opsets: Mapping[str, int],
        parent: Scope | None = None,
    ):
        self.builder = builder
        self.opsets = opsets
        self.parent = parent
        self.node: Node | None = parent.node if parent is not None else None
        self.names: dict[str, Anything] = {}
        self._run_graph = run_graph

    # ---- names

    def lookup(self, name: str) -> Anything | None:
        """The tensor of that ONNX name, here or outside; None if there is none (yet)."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def bind(self, name: str, value: Anything) -> None:
        """Give a tensor its ONNX name. Raises InvalidModelError if another has it."""
        if name in self.names:
            raise InvalidModelError(f"two tensors are named {name!r}")
        self.names[name] = value
        self.builder.remember(name, value)

    # ---- types

    def type(self, value: Imported) -> TensorType:
        """Element type and shape."""
        return value.type if isinstance(value, Value) else TensorType(dtype_of(value), value.shape)

    def shape(self, value: Imported) -> tuple[int, ...]:
        """The shape, as integers."""
        return self.type(value).extents

    def dtype(self, value: Imported) -> DType:
        """The element type."""
        return self.type(value).dtype

    def extents(self, value: Imported, rank: int, what: str = "the input") -> tuple[int, ...]:
        """The shape of a tensor that must have ``rank`` dimensions. Raises InvalidModelError."""
        shape = self.shape(value)
        if len(shape) != rank:
            raise InvalidModelError(f"{what} has the shape {list(shape)}; it must have {rank} dimensions")
        return shape

    def rank(self, value: Imported) -> int:
        """The number of dimensions."""
        return len(self.type(value).shape)

    # ---- values

    def is_known(self, value: object) -> bool:
        """Whether a tensor's values are known at import."""
        return isinstance(value, np.ndarray)

    def known(self, value: Imported | None, what: str) -> np.ndarray:
        """The values of a tensor that must be known at import; ``what`` names it in the message. Raises
        UnboundError."""
        if isinstance(value, np.ndarray):
            return narrow.widened(value)
        if not isinstance(value, Value):
            raise InvalidModelError(f"{what} is missing" if value is None else f"{what} must be a tensor")
        inputs = " and ".join(repr(name) for name in self.builder.sources(value))
        raise UnboundError(
            f"{what} must be known when the model is read, but depends on the input {inputs}; bind it to values with "
            "--const NAME=FILE.npy (constants= in Python)"
        )

    def known_ints(self, value: Imported | None, what: str) -> list[int]:
        """The values of a tensor of integers of rank 0 or 1 that must be known at import."""
        array = self.known(value, what)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise InvalidModelError(f"{what} must be a list of integers, not {array.dtype} of rank {array.ndim}")
        return [int(i) for i in array.reshape(-1)]

    def known_number(self, value: Imported | None, what: str) -> Any:
        """The value of a tensor of one element that must be known at import, as a Python number."""
        array = self.known(value, what)
        if array.size != 1:
            raise InvalidModelError(f"{what} must be one number, not a tensor of shape {list(array.shape)}")
        return array.reshape(()).item()

    def known_integer(self, value: Imported | None, what: str) -> int:
        """As ``known_number``, of a whole number; floats may hold one."""
        number = self.known_number(value, what)
        if not math.isfinite(number) or number != int(number):
            raise InvalidModelError(f"{what} is {number}; it must be a whole number")
        return int(number)

    def unsupported(self, message: str) -> UnsupportedError:
        """Raise UnsupportedError; declared to return it, so that ``raise s.unsupported(...)`` reads as what it is."""
        raise UnsupportedError(message)

    def invalid(self, message: str) -> InvalidModelError:
        """Raise InvalidModelError; declared to return it, as ``unsupported`` is."""
        raise InvalidModelError(message)

    # ---- operations

    def op(self, kind: str, inputs: Sequence[Input], **attrs: Any) -> Any:
        """The result of an operation; a tuple of them if it has several, or an array of them.

        Operands that are left out, and attributes, have the defaults of the declaration. Python numbers become literals
        of the element type of the operands beside them. Where every operand is known and the result has at most
        MAX_FOLDED elements it is computed at once. Raises what the operation's shape rule raises.
        """
        sig = signature(kind)
        params = [sig.tensors[0]] * len(inputs) if sig.array_input else list(sig.tensors)
        given: list[Any] = list(inputs) + [p.default for p in params[len(inputs) :]]
        full = self.builder.attributes(sig, attrs)
        operands = self._literals(params, given)
        if any(isinstance(x, np.ndarray) and not x.size for x in operands):
            return self._empty(kind, operands, full, sig.array_result)
        types = [x.type if isinstance(x, (Value, Literal)) else self.type(x) for x in operands]
        try:
            results = primitives()[kind].infer(types, full)
        except InvalidModelError as error:
            raise type(error)(f"{kind}: {error.message}") from None
        made: Sequence[Imported] | None = self._folded(kind, operands, full, results)
        if made is None:
            values = tuple(self.builder.value(t) for t in results)
            stored = tuple(self.builder.operand(x) for x in operands)
            self.builder.add(Op(kind, stored, full, values, self._origin()))
            made = values
        return tuple(made) if sig.array_result or len(made) != 1 else made[0]

    def _origin(self) -> Origin:
        node = self.node
        if node is None:
            return Origin()
        names = tuple(n for n in (node.outputs[0] if node.outputs else "", node.name) if n)
        return Origin(tuple(dict.fromkeys(names)), (node.location,) if node.location is not None else ())

    def _literals(self, params: Sequence[Param], given: Sequence[Any]) -> list[Imported | Literal]:
        """The operands, numbers as literals of the type of the operands that are declared alike."""
        declared: dict[ast.TypeSpec | None, DType] = {}
        first: DType | None = None
        for param, value in zip(params, given, strict=True):
            if isinstance(value, (np.ndarray, Value, Literal)):
                dtype = value.dtype if isinstance(value, Literal) else self.dtype(value)
                declared.setdefault(_item(param.type), dtype)
                first = first or (dtype if dtype is not DType.BOOL else None)
        return [
            x if isinstance(x, (np.ndarray, Value, Literal)) else _literal(x, declared.get(_item(p.type), first))
            for p, x in zip(params, given, strict=True)
        ]

    def _folded(
        self, kind: str, operands: Sequence[Imported | Literal], attrs: Any, results: Sequence[TensorType]
    ) -> tuple[np.ndarray, ...] | None:
        """The values of the results where all operands are known and it is quickly done, else None."""
        arrays = _arrays(operands)
        if arrays is None or any(t.volume > MAX_FOLDED for t in results):
            return None
        most = max((a.size for a in arrays), default=1)
        if kind not in _LINEAR and most * results[0].volume > _MAX_WORK:
            return None
        return self._computed(kind, arrays, attrs)

    def _computed(self, kind: str, arrays: Sequence[np.ndarray], attrs: Any) -> tuple[np.ndarray, ...]:
        """The meaning of an operation that its shape rule has accepted; what may still be wrong with the operands are
        indices outside of a tensor."""
        try:
            return tuple(np.asarray(r) for r in primitives()[kind].reference(arrays, attrs))
        except IndexError as error:
            raise InvalidModelError(f"{kind}: {error}") from error

    def _empty(self, kind: str, operands: Sequence[Imported | Literal], attrs: Any, several: bool) -> Any:
        """The result of an operation on a tensor without elements, which no Graph has: computed at once, or refused."""
        arrays = _arrays(operands)
        if arrays is None:
            raise UnsupportedError(f"{kind}: an operand has no elements, and others are computed")
        try:
            results = self._computed(kind, arrays, attrs)
        except ValueError as error:
            # No shape rule has looked at these operands.
            raise InvalidModelError(f"{kind}: {error}") from error
        return results if several or len(results) != 1 else results[0]

    # ---- shorthands

    def reshape(self, value: Imported, shape: Sequence[int]) -> Any:
        """The same elements in row-major order under another shape. Raises InvalidModelError for another number."""
        if isinstance(value, np.ndarray):
            if math.prod(shape) != value.size:
                raise InvalidModelError(f"a tensor of shape {list(value.shape)} cannot have the shape {list(shape)}")
            return self.builder.same_name(value, value.reshape(tuple(shape)))
        return value if tuple(shape) == value.type.shape else self.op("reshape", [value], shape=tuple(shape))

    def transpose(self, value: Imported, perm: Sequence[int]) -> Any:
        """Dimension i of the result is dimension ``perm[i]``."""
        if list(perm) == list(range(len(perm))):
            return value
        if isinstance(value, np.ndarray):
            return self.builder.same_name(value, value.transpose(tuple(perm)))
        return self.op("transpose", [value], axes=tuple(perm))

    def cast(self, value: Imported, dtype: DType) -> Any:
        """The elements as another type."""
        if self.dtype(value) is not dtype:
            return self.op("cast", [value], dtype=dtype)
        return narrow.widened(value) if isinstance(value, np.ndarray) else value

    def broadcast(self, values: Sequence[Imported]) -> list[Any]:
        """The tensors with leading dimensions of extent 1 up to the same rank. ONNX aligns dimensions from the last,
        NNEF from the first. Tensors of rank 0 stay as they are."""
        rank = max((self.rank(v) for v in values), default=0)
        return [self.lead(v, rank) for v in values]

    def lead(self, value: Imported, rank: int) -> Any:
        """The tensor with leading dimensions of extent 1 up to ``rank``; as it is where it has rank 0."""
        missing = rank - self.rank(value)
        if missing <= 0 or self.rank(value) == 0:
            return value
        return self.reshape(value, (1,) * missing + self.shape(value))

    def call(self, op_type: str, inputs: Sequence[Imported | None], *, domain: str = "", **attrs: Any) -> list[Any]:
        """The outputs that another ONNX operation's importer gives for these inputs."""
        return self.builder.call(self, op_type, inputs, domain, attrs)

    def subgraph(self, graph: Any, inputs: Sequence[Anything]) -> list[Any]:
        """Run a nested graph in place; it sees the tensors outside by name. Returns its outputs."""
        return self._run_graph(Scope(self.builder, self._run_graph, self.opsets, self), graph, inputs)


def _item(spec: ast.TypeSpec) -> ast.TypeSpec | None:
    return spec.item if isinstance(spec, ast.ArraySpec) else spec


def _arrays(operands: Sequence[Imported | Literal]) -> list[np.ndarray] | None:
    """The operands as arrays, or None if one is computed."""
    arrays = [np.asarray(x.value, numpy_type(x.dtype)) if isinstance(x, Literal) else x for x in operands]
    known = [narrow.widened(a) for a in arrays if isinstance(a, np.ndarray)]
    return known if len(known) == len(arrays) else None


def _literal(value: Any, dtype: DType | None) -> Literal:
    """A number as a literal; without operands beside it, of the type that NNEF gives it."""
    if dtype is None:
        dtype = DType.BOOL if isinstance(value, bool) else DType.I64 if isinstance(value, int) else DType.F32
    if dtype.kind == "f":
        return Literal(float(value), dtype)
    if dtype.kind == "b":
        return Literal(bool(value), dtype)
    if int(value) != value:
        raise TypeError(f"{value!r} is no {dtype}")
    return Literal(int(value), dtype)


def tensors(values: Sequence[Anything]) -> bool:
    """Whether none of the values is a sequence or an optional."""
    return all(v is None or isinstance(v, (np.ndarray, Value)) for v in values)

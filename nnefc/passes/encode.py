"""Graph -> Graph: what the encodings of tensors mean becomes operations, as the execution asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnefc.ir.encoding import EXECUTIONS, Encoding, Parameter
from nnefc.ir.graph import Attrs, Graph, Literal, Op, Operand, Origin, Tensor, Value
from nnefc.ir.types import DType, TensorType
from nnefc.ops.codes import MAX_BITS
from nnefc.ops.evaluate import stored_tensor, variable_values
from nnefc.ops.linear_code import LinearCode, codes_of, linear_code, power_codes
from nnefc.ops.quantized import check_encoding
from nnefc.ops.stored import CODED_ITEMS

CODE_BITS = 8
"""Bits of the codes of computed tensors that integer kernels take."""


def encode(graph: Graph, execution: str, notes: list[str] | None = None) -> Graph:
    """The graph without encodings, but for those that tell what stored codes mean.

    With ``"integer"`` an encoded tensor is quantized to codes and these are dequantized, where codes have a whole zero
    point and at most 8 bits; stored tensors become constant codes, dequantized. Others, and all with ``"float"``, go
    through the pseudo-quantization of the standard. ``"ignore"`` drops encodings of computed tensors, and pairs of
    quantize_linear and dequantize_linear with the same parameters. ``notes`` gets a line about every tensor that keeps
    floats though ``"integer"`` was asked.

    Raises ValueError for another execution and InvalidModelError for impossible parameters.
    """
    if execution not in EXECUTIONS:
        raise ValueError(f"execution is {execution!r}; it may be {', '.join(EXECUTIONS[:-1])} or {EXECUTIONS[-1]}")
    encoded = any(v.type.encoding is not None for v in graph.values.values())
    paired = execution == "ignore" and any(op.kind == "dequantize_linear" for op in graph.ops)
    return _Encoding(graph, execution, [] if notes is None else notes).result() if encoded or paired else graph


def is_quantized(graph: Graph) -> bool:
    """Whether a graph has encodings, or operations on codes."""
    return any(op.kind in ("quantize_linear", "dequantize_linear") for op in graph.ops) or any(
        v.type.encoding is not None for v in graph.values.values()
    )


class _Encoding:
    """One run of the pass: the new operations, and what stands for each old value."""

    def __init__(self, graph: Graph, execution: str, notes: list[str]):
        self._graph, self._execution, self._notes = graph, execution, notes
        self._ops: list[Op] = []
        self._now: dict[str, Value] = {}
        self._names = set(graph.values)
        self._tensors: dict[str, Tensor] = dict(graph.tensors)
        self._updated = {
            op.inputs[0].name for op in graph.ops if op.kind == "update" and isinstance(op.inputs[0], Value)
        }

    def result(self) -> Graph:
        """The graph of the new operations."""
        inputs = []
        for value in self._graph.inputs:
            inputs.append(_plain(value))
            self._now[value.name] = inputs[-1]
            if value.type.encoding is not None and self._execution != "ignore":
                target = Value(self._fresh(f"{value.name}_encoded"), inputs[-1].type)
                self._put(inputs[-1], target, value.type.encoding, Origin((value.name,)))
                self._now[value.name] = target
        for op in self._graph.ops:
            self._translate(op)
        outputs = tuple(self._output(v, inputs) for v in self._graph.outputs)
        read = {v.name for v in outputs} | {v.name for op in self._ops for v in op.inputs if isinstance(v, Value)}
        self._ops = [op for op in self._ops if op.kind != "quantize_linear" or op.output.name in read]
        return self._graph.replace(inputs=tuple(inputs), ops=tuple(self._ops), outputs=outputs, tensors=self._tensors)

    def _output(self, value: Value, inputs: Sequence[Value]) -> Value:
        """The graph's output: under its own name, unless an input has that."""
        return self._now[value.name] if self._now[value.name] not in inputs else _plain(value)

    def _fresh(self, stem: str) -> str:
        name, count = stem, 1
        while name in self._names:
            name, count = f"{stem}_{count}", count + 1
        self._names.add(name)
        return name

    def _emit(self, kind: str, inputs: Sequence[Operand], target: Value, origin: Origin, **attrs: object) -> None:
        self._ops.append(Op(kind, tuple(inputs), Attrs(attrs), (target,), origin))

    # ---- operations

    def _translate(self, op: Op) -> None:
        op = op.replace(inputs=tuple(x if isinstance(x, Literal) else self._now[x.name] for x in op.inputs))
        if op.kind == "variable" and op.output.type.encoding is not None:
            self._variable(op)
            return
        pair = self._pair(op) if self._execution == "ignore" else None
        if pair is not None:
            self._emit("copy", [pair], op.output, op.origin)
            self._now[op.output.name] = op.output
            return
        made: list[Value] = []
        after: list[tuple[Value, Value, Encoding]] = []
        for v in op.outputs:
            encoding, target = v.type.encoding, _plain(v)
            if encoding is None or self._execution == "ignore" or v.type.dtype.kind != "f":
                made.append(target)
            else:
                made.append(Value(self._fresh(f"{v.name}_exact"), target.type))
                after.append((made[-1], target, encoding))
            self._now[v.name] = target
        self._ops.append(op.replace(outputs=tuple(made)))
        for source, target, encoding in after:
            self._put(source, target, encoding, op.origin)

    def _pair(self, op: Op) -> Operand | None:
        """What a dequantize_linear of codes made with its own parameters codes; None for any other operation."""
        if op.kind != "dequantize_linear" or not isinstance(op.inputs[0], Value):
            return None
        maker = next((o for o in reversed(self._ops) if op.inputs[0] in o.outputs), None)
        if maker is None or maker.kind != "quantize_linear":
            return None
        (x, scale, zero), (_, other, moved) = maker.inputs, op.inputs
        same = scale == other and (zero == moved or _number(zero) == _number(moved) is not None)
        return x if same and x.type.dtype is op.output.type.dtype else None

    # ---- computed tensors

    def _put(self, source: Value, target: Value, encoding: Encoding, origin: Origin) -> None:
        """Make ``target`` of ``source`` by its encoding."""
        check_encoding(encoding, origin.location)
        code = linear_code(encoding, source.type.rank) if self._execution == "integer" else None
        if code is None or code.bits > CODE_BITS or source.type.dtype is not DType.F32:
            if self._execution == "integer":
                self._say(target.name, encoding, code)
            self._pseudo(source, target, encoding, origin)
            return
        scale, zero = self._parameters(code, source.type.dtype, target.name, origin)
        codes = Value(self._fresh(f"{target.name}_codes"), TensorType(code.dtype, source.type.shape))
        self._emit("quantize_linear", [source, scale, zero], codes, origin, **_modes(code), rounding="up")
        self._emit("dequantize_linear", [codes, scale, zero], target, origin)

    def _say(self, name: str, encoding: Encoding, code: LinearCode | None, most: int = CODE_BITS) -> None:
        """Note why a tensor keeps floats, where integer kernels take codes of ``most`` bits."""
        bits = encoding["bits"]
        if isinstance(bits, int) and bits > most and encoding.algorithm != "logarithmic_quantize":
            why = f"codes have {bits} bits, and integer kernels take {most}"
        elif code is None:
            why = f"{encoding.algorithm} has no integer form with these parameters"
        else:
            why = "it is no tensor of f32"
        self._notes.append(f"{name}: {why}; it is pseudo-quantized in float")

    def _pseudo(self, source: Value, target: Value, encoding: Encoding, origin: Origin) -> None:
        """The pseudo-quantization operation of the standard (NNEF 1.0.5, 4.9.5)."""
        operands: list[Operand] = [source]
        attrs: dict[str, object] = {}
        for name, value in encoding.parameters:
            if name in ("bits", "signed", "symmetric"):
                attrs[name] = value
            else:
                dtype = DType.I64 if name == "zero_point" else source.type.dtype
                operands.append(self._parameter(value, dtype, f"{target.name}_{name}", origin))
        self._emit(encoding.algorithm, operands, target, origin, **attrs)

    def _parameters(self, code: LinearCode, dtype: DType, name: str, origin: Origin) -> tuple[Operand, Operand]:
        lead = (1,) * (code.axis or 0)
        scale = code.scale.reshape(lead + code.scale.shape)
        zero = code.zero.astype(np.int64).reshape(lead + code.zero.shape)
        if (zero == zero.flat[0]).all():
            zero = zero.reshape(-1)[0].reshape(())
        return (
            self._parameter(scale, dtype, f"{name}_scale", origin),
            self._parameter(zero, code.dtype, f"{name}_zero_point", origin),
        )

    def _parameter(self, value: Parameter | np.ndarray, dtype: DType, name: str, origin: Origin) -> Operand:
        """A number as a literal, an array as a constant."""
        array = np.asarray(value, np.float64 if dtype.kind == "f" else np.int64)
        if not array.ndim:
            return Literal(array.item(), dtype)
        target = Value(self._fresh(name), TensorType(dtype, array.shape))
        self._emit("constant", [], target, origin, shape=array.shape, value=array.reshape(-1).tolist(), dtype=dtype)
        return target

    # ---- stored tensors

    def _variable(self, op: Op) -> None:
        """Stored values become codes; what cannot be goes through pseudo-quantization, or is decoded in the end."""
        value, encoding = op.output, op.output.type.encoding
        assert encoding is not None
        check_encoding(encoding, op.origin.location)
        stored, target = stored_tensor(self._graph, op), _plain(value)
        self._now[value.name] = target
        asked = self._execution == "integer" and value.name not in self._updated and value.type.dtype is DType.F32
        made = self._codes(op, stored, encoding) if asked else None
        if made is not None:
            codes, scale, zero = made
            label = self._fresh(f"{value.name}_codes")
            self._tensors[label] = Tensor(codes, "int" if codes.dtype.kind == "i" else "uint", 8 * codes.itemsize)
            source = Value(label, TensorType(DType.of(codes.dtype), value.type.shape))
            self._emit("variable", [], source, op.origin, shape=codes.shape, label=label, dtype=source.type.dtype)
            self._emit("dequantize_linear", [source, scale, zero], target, op.origin)
        elif stored.item in CODED_ITEMS:
            self._now[value.name] = value
            self._ops.append(op)
        elif self._execution == "ignore" or value.name in self._updated or value.type.dtype.kind != "f":
            self._ops.append(op.replace(outputs=(target,)))
        else:
            source = Value(self._fresh(f"{value.name}_exact"), target.type)
            self._ops.append(op.replace(outputs=(source,)))
            self._pseudo(source, target, encoding, op.origin)

    def _codes(self, op: Op, stored: Tensor, encoding: Encoding) -> tuple[np.ndarray, Operand, Operand] | None:
        """The codes of a stored tensor, their scale and zero point; None, with a note, where it keeps floats."""
        name, code = op.output.name, linear_code(encoding, op.output.type.rank)
        if encoding.algorithm == "logarithmic_quantize":
            found = power_codes(stored, encoding)
        elif code is None or code.bits > MAX_BITS:
            found = None
        elif stored.item in CODED_ITEMS:
            held = np.iinfo(stored.data.dtype)
            codes = np.clip(stored.data, max(code.low, held.min), min(code.high, held.max))
            found = codes.astype(code.dtype.numpy, copy=False), code
        else:
            found = codes_of(variable_values(self._graph, op), code), code
        if found is None:
            self._say(name, encoding, code, MAX_BITS)
            return None
        return found[0], *self._parameters(found[1], DType.F32, name, op.origin)


def _modes(code: LinearCode) -> dict[str, object]:
    return {"bits": code.bits, "signed": code.low < 0, "symmetric": code.low == -code.high}


def _plain(value: Value) -> Value:
    return Value(value.name, value.type.with_encoding(None))


def _number(operand: Operand) -> float | int | None:
    return operand.value if isinstance(operand, Literal) else None

"""The operations of the registry tract_core."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nnefc.errors import InvalidModelError
from nnefc.formats.nnef.tract.registry import Arguments, TractScope, onnx, operation
from nnefc.formats.nnef.tract.standard import as_logical, make, strided
from nnefc.ir.types import DType

MAX_RANGE = 1 << 22
_NAMES = {"tdim": DType.I64, **{d.value: d for d in DType}}


def datum_type(s: TractScope, name: str) -> DType:
    """The element type that tract calls so. Raises UnsupportedError for one that tensors do not have here."""
    if name.lower() not in _NAMES:
        raise s.unsupported(f"elements of tract's type {name!r} are not supported")
    return _NAMES[name.lower()]


# ---- element-wise


def _unary(name: str, kind: str) -> None:
    @operation(name, params="x")
    def run(s: TractScope, a: Arguments) -> Any:
        return make(s, kind, [a.tensor("x")])


def _binary(name: str, kind: str) -> None:
    @operation(name, params="a b")
    def run(s: TractScope, a: Arguments) -> Any:
        return make(s, kind, [a.operand("a"), a.operand("b")])


for _name, _kind in {
    "round_even": "round_even",
    "erf": "erf",
    "hard_swish": "hard_swish",
    "bitnot": "bitwise_not",
    "is_nan": "is_nan",
    "silu": "silu",
}.items():
    _unary(f"tract_core_{_name}", _kind)
_unary("tract_transformers_silu", "silu")
for _name, _kind in {
    "tract_core_xor": "xor",
    "tract_core_bitand": "bitwise_and",
    "tract_core_bitor": "bitwise_or",
    "tract_core_bitxor": "bitwise_xor",
    "tract_shl": "shift_left",
    "tract_shr": "shift_right",
}.items():
    _binary(_name, _kind)


@operation("tract_core_is_inf", params="input detect_positive=true detect_negative=true")
def _is_inf(s: TractScope, a: Arguments) -> Any:
    signs = {name: a.logical(name) for name in ("detect_positive", "detect_negative")}
    return s.op("is_inf", [a.tensor("input")], **signs)


@operation("tract_core_cast", params="input to?")
def _cast(s: TractScope, a: Arguments) -> Any:
    """Without a type, to that which ``graph.quant`` gives the result: pseudo-quantization, which changes no type."""
    x = a.tensor("input")
    if "to" not in a:
        return s.op("copy", [x])
    dtype = datum_type(s, a.text("to"))
    return as_logical(s, x) if dtype is DType.BOOL else s.cast(x, dtype)


@operation("tract_core_pow_const", params="input exponent")
def _pow_const(s: TractScope, a: Arguments) -> Any:
    return make(s, "pow", [a.tensor("input"), a.scalar("exponent")])


@operation("tract_core_gelu_approx", "tract_transformers_gelu_approx", params="input fast_impl=false")
def _gelu_approx(s: TractScope, a: Arguments) -> Any:
    """By tanh; the fast one has a square where the other has a cube."""
    x = a.tensor("input")
    if not a.logical("fast_impl"):
        return s.op("gelu_tanh", [x])
    inner = s.op("mul", [s.op("add", [x, s.op("mul", [s.op("mul", [x, x]), 0.044715])]), 0.7978845608028654])
    return s.op("mul", [s.op("mul", [x, 0.5]), s.op("add", [s.op("tanh", [inner]), 1.0])])


# ---- shapes and indices


@operation("tract_core_shape_of", params="input")
def _shape_of(s: TractScope, a: Arguments) -> Any:
    return np.array(s.shape(a.tensor("input")), np.int64)


@operation("tract_core_range", params="start end step")
def _range(s: TractScope, a: Arguments) -> Any:
    start, end, step = (a.known(name).reshape(-1) for name in ("start", "end", "step"))
    if not start.size == end.size == step.size == 1 or step[0] == 0:
        raise InvalidModelError("start, end and step must be numbers, and step not 0")
    if (end[0] - start[0]) / step[0] > MAX_RANGE:
        raise s.unsupported(f"ranges of more than {MAX_RANGE} items")
    dtype = np.dtype(np.float32 if any(x.dtype.kind == "f" for x in (start, end, step)) else np.int64)
    s.spend(max(0, math.ceil((end[0] - start[0]) / step[0])))
    made: np.ndarray = np.arange(start[0].item(), end[0].item(), step[0].item(), dtype=dtype)
    if not made.size:
        raise s.unsupported("a range without items")
    return made


@operation("tract_core_broadcast", params="input shape")
def _broadcast(s: TractScope, a: Arguments) -> Any:
    return onnx(s, "Expand", [a.tensor("input"), np.array(a.ints("shape"), np.int64)])[0]


def _indices(s: TractScope, a: Arguments) -> Any:
    return s.cast(a.tensor("indices"), DType.I64)


@operation("tract_core_gather", params="input indices axis datum_type?")
def _gather(s: TractScope, a: Arguments) -> Any:
    made = onnx(s, "Gather", [a.tensor("input"), _indices(s, a)], axis=a.integer("axis"))[0]
    return s.cast(made, datum_type(s, a.text("datum_type"))) if "datum_type" in a else made


@operation("tract_core_gather_elements", params="input indices axis")
def _gather_elements(s: TractScope, a: Arguments) -> Any:
    return onnx(s, "GatherElements", [a.tensor("input"), _indices(s, a)], axis=a.integer("axis"))[0]


@operation("tract_core_gather_nd", params="input indices batch_dims=0")
def _gather_nd(s: TractScope, a: Arguments) -> Any:
    return onnx(s, "GatherND", [a.tensor("input"), _indices(s, a)], batch_dims=a.integer("batch_dims"))[0]


@operation("tract_core_scatter_elements", params="input indices updates axis reduction=none")
def _scatter_elements(s: TractScope, a: Arguments) -> Any:
    x = a.tensor("input")
    given = [x, _indices(s, a), s.cast(a.tensor("updates"), s.dtype(x))]
    return onnx(s, "ScatterElements", given, axis=a.integer("axis"), reduction=a.text("reduction"))[0]


@operation("tract_core_scatter_nd", params="input indices updates reduction=none")
def _scatter_nd(s: TractScope, a: Arguments) -> Any:
    x = a.tensor("input")
    given = [x, _indices(s, a), s.cast(a.tensor("updates"), s.dtype(x))]
    return onnx(s, "ScatterND", given, reduction=a.text("reduction"))[0]


@operation("tract_core_one_hot", params="input axis dim value_off=0.0 value_on=1.0")
def _one_hot(s: TractScope, a: Arguments) -> Any:
    values = np.array([a.scalar("value_off"), a.scalar("value_on")], np.float32)
    given = [s.cast(a.tensor("input"), DType.I64), np.array(a.integer("dim"), np.int64), values]
    return onnx(s, "OneHot", given, axis=a.integer("axis"))[0]


@operation("tract_core_topk", params="input k axis largest")
def _topk(s: TractScope, a: Arguments) -> Any:
    k = np.array([a.integer("k")], np.int64)
    largest = int(a.logical("largest"))
    return tuple(onnx(s, "TopK", [a.tensor("input"), k], axis=a.integer("axis"), largest=largest, sorted=1))


@operation("tract_core_trilu", params="input k upper")
def _trilu(s: TractScope, a: Arguments) -> Any:
    k = np.array(a.integer("k"), np.int64)
    return onnx(s, "Trilu", [a.tensor("input"), k], upper=int(a.logical("upper")))[0]


@operation("tract_core_downsample", params="input axis stride modulo=0")
def _downsample(s: TractScope, a: Arguments) -> Any:
    return strided(s, a.tensor("input"), a.integer("axis"), a.integer("stride"), a.integer("modulo"))


@operation("tract_core_dyn_slice", params="input start end len axis")
def _dyn_slice(s: TractScope, a: Arguments) -> Any:
    """``len`` elements from ``start`` on, which may be computed."""
    x, start, axis, length = a.tensor("input"), a.tensor("start"), a.integer("axis"), a.integer("len")
    if isinstance(start, np.ndarray):
        begin = a.integer("start")
        return s.op("slice", [x], axes=[axis], begin=[begin], end=[begin + length])
    if not 0 < length <= s.shape(x)[axis]:
        raise InvalidModelError(f"len is {length}; the extent is {s.shape(x)[axis]}")
    s.spend(length)
    first = s.reshape(s.cast(start, DType.I64), (1,))
    return onnx(s, "Gather", [x, s.op("add", [np.arange(length), first])], axis=axis)[0]


# ---- reductions


@operation("tract_core_product_reduce", params="input axes")
def _product_reduce(s: TractScope, a: Arguments) -> Any:
    return s.op("prod_reduce", [a.tensor("input")], axes=a.ints("axes"))


@operation("tract_core_argmax_reduce_last", params="input axes")
def _argmax_last(s: TractScope, a: Arguments) -> Any:
    return _last(s, a, "ArgMax")


@operation("tract_core_argmin_reduce_last", params="input axes")
def _argmin_last(s: TractScope, a: Arguments) -> Any:
    return _last(s, a, "ArgMin")


def _last(s: TractScope, a: Arguments, op_type: str) -> Any:
    axis = a.integer("axes")
    return onnx(s, op_type, [a.tensor("input")], axis=axis, keepdims=1, select_last_index=1)[0]


@operation("tract_core_softmax", params="x axes exp?")
def _softmax(s: TractScope, a: Arguments) -> Any:
    return s.op("softmax", [a.tensor("x")], axes=a.ints("axes"))


@operation("tract_core_log_softmax", params="x axes")
def _log_softmax(s: TractScope, a: Arguments) -> Any:
    x, axes = a.tensor("x"), a.ints("axes")
    centred = s.op("sub", [x, s.op("max_reduce", [x], axes=axes)])
    return s.op("sub", [centred, s.op("log", [s.op("sum_reduce", [s.op("exp", [centred])], axes=axes)])])


@operation("tract_core_rms_norm", "tract_transformers_rms_norm", params="input axis eps=1e-6")
def _rms_norm(s: TractScope, a: Arguments) -> Any:
    x = a.tensor("input")
    return s.op("rms_normalization", [x, 1.0], axes=[a.integer("axis")], epsilon=a.scalar("eps"))


# ---- products


@operation("tract_core_einsum", params="inputs expr acc output?")
def _einsum(s: TractScope, a: Arguments) -> Any:
    dtype = datum_type(s, a.text("acc"))
    given = [s.cast(x, dtype) for x in a.tensors("inputs")]
    return onnx(s, "Einsum", given, equation=a.text("expr"))[0]


# ---- resampling


@operation(
    "tract_core_resize",
    params="input scales? sizes? coord_transformer=half_pixel interpolator=nearest nearest_mode=floor",
)
def _resize(s: TractScope, a: Arguments) -> Any:
    scales = a.known("scales").astype(np.float32) if "scales" in a else None
    sizes = np.array(a.ints("sizes"), np.int64) if "sizes" in a else None
    if (scales is None) == (sizes is None):
        raise InvalidModelError("either scales or sizes must be given")
    return onnx(
        s,
        "Resize",
        [a.tensor("input"), None, scales, sizes],
        coordinate_transformation_mode=a.text("coord_transformer"),
        mode=a.text("interpolator"),
        nearest_mode=a.text("nearest_mode"),
    )[0]


@operation("tract_core_grid_sample", params="input grid mode=bilinear padding_mode=zeros align_corners=false")
def _grid_sample(s: TractScope, a: Arguments) -> Any:
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(a.text("mode"), a.text("mode"))
    attrs = {"mode": mode, "padding_mode": a.text("padding_mode"), "align_corners": int(a.logical("align_corners"))}
    return onnx(s, "GridSample", [a.tensor("input"), a.tensor("grid")], **attrs)[0]

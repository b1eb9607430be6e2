"""Each operation between two convolutions, quantized: which ones read and write codes, and which need floats."""

from __future__ import annotations

import numpy as np
import pytest
from networks import network, samples

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.ir.graph import Graph
from nnefc.ir.types import DType
from nnefc.ir.view import Role
from nnefc.passes import pipeline
from nnefc.quant import quantize
from nnefc.quant.metrics import snr

BEFORE = "x = external[1, 4, 8, 8]; w0 = variable[8, 4, 3, 3]; a = conv(x, w0);"
AFTER = "w9 = variable[4, {0}, 1, 1]; y = conv(b, w9);"
IMAGE = {
    "conv": "w1 = variable[8, 8, 3, 3]; v1 = variable[1, 8]; b = conv(a, w1, v1, stride = [2, 2]);",
    "depthwise conv": "w1 = variable[8, 1, 3, 3]; b = conv(a, w1, groups = 0);",
    "deconv": "w1 = variable[8, 8, 2, 2]; b = deconv(a, w1, padding = [(0, 0), (0, 0)]);",
    "avg_pool": "b = avg_pool(a, size = [1, 1, 2, 2], stride = [1, 1, 2, 2], border = 'ignore');",
    "max_pool": "b = max_pool(a, size = [1, 1, 2, 2], stride = [1, 1, 2, 2], border = 'ignore');",
    "mean_reduce": "b = mean_reduce(a, axes = [2, 3]);",
    "add": "w1 = variable[8, 4, 3, 3]; c = conv(x, w1); b = add(a, c);",
    "add a residual": "w1 = variable[8, 8, 3, 3]; c = conv(a, w1); b = add(c, a);",
    "mul": "w1 = variable[8, 4, 3, 3]; c = conv(x, w1); b = mul(a, c);",
    "relu": "b = relu(a);",
    "clamp": "b = clamp(a, -3.0, 6.0);",
    "leaky_relu": "b = leaky_relu(a, alpha = 0.1);",
    "sigmoid": "b = sigmoid(a);",
    "tanh": "b = tanh(a);",
    "silu": "s = sigmoid(a); b = mul(a, s);",
    "sigmoid of what others read": "w1 = variable[8, 8, 3, 3]; c = conv(a, w1); s = sigmoid(a); b = mul(c, s);",
    "nearest_upsample": "b = nearest_upsample(a, factor = [2, 2]);",
    "nearest_downsample": "b = nearest_downsample(a, factor = [2, 2]);",
    "area_downsample": "b = area_downsample(a, factor = [2, 2]);",
    "pad": "b = pad(a, padding = [(0, 0), (0, 0), (1, 2), (0, 3)]);",
    "slice": "b = slice(a, axes = [2, 3], begin = [1, 2], end = [7, 8]);",
    "transpose": "b = transpose(a, axes = [0, 1, 3, 2]);",
    "reshape": "b = reshape(a, shape = [1, 8, 16, 4]);",
}
CONCAT = {
    "concat": "w1 = variable[8, 4, 3, 3]; c = conv(x, w1); b = concat([a, c], axis = 1);",
    "concat of an activation": "s = sigmoid(a); p = max_pool(a, size = [1, 1, 3, 3]); b = concat([s, p], axis = 1);",
}
FLOATS = {
    "softmax": ("b = softmax(a);", {"a", "b"}),
    "l2_normalization": ("b = l2_normalization(a, axes = [1]);", {"a"}),
    "multilinear_upsample": ("b = multilinear_upsample(a, factor = [2, 2]);", {"b", "b.3"}),
    "squeeze and excite": (
        "m = mean_reduce(a, axes = [2, 3]); w1 = variable[8, 8, 1, 1]; c = conv(m, w1); s = sigmoid(c); b = mul(a, s);",
        {"s"},
    ),
}
"""And the tensors of floats that kernels hand on: rows and what blends neighbours are computed in float, and the
factors of channels are floats, which the product of all pixels with them, of codes, reads."""
CASES: dict[str, tuple[str, set[str]]] = {
    **{name: (BEFORE + body + AFTER.format(8), set()) for name, body in IMAGE.items()},
    **{name: (BEFORE + body + AFTER.format(16), set()) for name, body in CONCAT.items()},
    **{name: (BEFORE + body + AFTER.format(8), floats) for name, (body, floats) in FLOATS.items()},
    "linear": (
        "x = external[3, 20]; w0 = variable[30, 20]; v0 = variable[1, 30]; a = linear(x, w0, v0); b = relu(a);"
        "w1 = variable[5, 30]; y = linear(b, w1);",
        set(),
    ),
    "matmul": (
        "x = external[3, 20]; w0 = variable[20, 30]; a = matmul(x, w0); w1 = variable[30, 5];y = matmul(a, w1);",
        set(),
    ),
}


def stored_floats(graph: Graph) -> set[str]:
    """The tensors of floats that kernels hand on to each other, but for the result on its way out."""
    found = pipeline.run(graph).buffers().values()
    return {b.name for b in found if b.role is Role.TEMP and b.dtype in (DType.F32, DType.F64)} - {"y"}


@pytest.mark.parametrize("case", CASES)
def test_operations_between_products(case: str) -> None:
    body, floats = CASES[case]
    graph = network(body)
    notes: list[str] = []
    coded = quantize(graph, samples(graph, 4))
    execution = execution_of(pipeline.run(coded, notes=notes))
    assert execution.share == 1 and not notes
    assert stored_floats(coded) == floats
    model = nnefc.compile(coded)
    rows = [
        (nnefc.evaluate(graph, x)["y"], nnefc.evaluate(coded, x, execution="integer")["y"], model(**x))
        for x in samples(graph, 3, seed=5)
    ]
    real, codes, compiled = ({"y": np.stack(column)} for column in zip(*rows, strict=True))
    assert snr(codes, real) > 18
    assert snr(compiled, codes) > 60

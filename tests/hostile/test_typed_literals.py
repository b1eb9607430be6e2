"""Numbers beyond what the element type of a tensor holds: refused or saturated, never a crash or a warning."""

from __future__ import annotations

import warnings

import pytest

from nnefc.codegen.schedule import plan
from nnefc.codegen.target import Target
from nnefc.errors import NnefcError
from nnefc.formats.nnef import parse_graph
from nnefc.formats.nnef.declarations import KNOWN_EXTENSIONS
from nnefc.formats.nnef.dialect import TOLERANT
from nnefc.ir.types import DType
from nnefc.passes import pipeline

EXPRESSIONS = (
    *(
        "x + 300",
        "x + -1",
        "x - 70000",
        "x * 1e39",
        "x / 0",
        "x ^ 1e300",
        "x < 300",
        "x == -1",
        "-x",
        "!x",
        "pow(x, 2)",
    ),
    *("max(x, 4294967296)", "clamp(x, -1000, 1000)", "select(x > 3000, x, -5)", "prelu(x, 1e300)", "x + c"),
    *("leaky_relu(x, alpha = 1e300)", "linear_quantize(x, -1.0, 1.0, bits = 64)", "gather(x, x, axis = 0)"),
    *("zero_point_linear_quantize(x, 1000000, 0.1, bits = 8, signed = false, symmetric = false)", "sqr(x)"),
    *("pad(x, padding = [(1,1)], border = 'constant', value = 1e39)", "sum_reduce(x, axes = [0])", "cast<integer>(x)"),
    *("pad(x, padding = [(1,1)], border = 'constant', value = 300.0)", "argmax_reduce(x, axes = [0])", "round(x)"),
    *("box(x, size = [3], border = 'ignore', normalize = true)", "max_pool(x, size = [2], border = 'ignore')"),
)


def text(dtype: DType, expression: str) -> str:
    generic = {"f": "scalar", "b": "logical"}.get(dtype.kind, "integer")
    return (
        f"version 1.0;\nextension {', '.join(KNOWN_EXTENSIONS)};\ngraph G(x) -> (y)\n{{\n"
        f"    x: {dtype}[4] = external<{generic}>(shape = [4]);\n"
        f"    c = constant<scalar>(shape = [1], value = [1e39]);\n    y = {expression};\n}}\n"
    )


@pytest.mark.parametrize("dtype", DType, ids=str)
def test_every_expression_compiles_or_is_refused(dtype: DType) -> None:
    good = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expression in EXPRESSIONS:
            try:
                plan(pipeline.run(parse_graph(text(dtype, expression), dialect=TOLERANT)), Target.host())
                good += 1
            except NnefcError as error:
                assert error.exit_code in (3, 4), expression
    assert good


def test_a_literal_beyond_the_tensors_it_stands_among() -> None:
    with pytest.raises(NnefcError, match=r"7:9: error: 4294967296 is beyond the range of u8"):
        parse_graph(text(DType.U8, "max(x, 4294967296)"), dialect=TOLERANT)

"""What the shape rules reject, and what they say."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import Case

from nnefc.errors import InvalidModelError
from nnefc.ir.types import DType


def f(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.float32(0), shape)


def i(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.int64(0), shape)


def b(*shape: int) -> np.ndarray:
    return np.broadcast_to(np.bool_(0), shape)


REJECTED = [
    (
        Case("add", [f(2, 3, 4), f(4)]),
        "x has shape [2,3,4] and y has shape [4]: the extents 2 and 4 of dimension 0 differ; they must "
        "be equal or one of them 1 (dimensions are aligned from the first)",
    ),
    (Case("add", [f(2, 3), i(2, 3)]), "x has elements of type f32 and y of type i64; they must be equal"),
    (Case("not", [f(2)]), "x has scalar elements (f32); they must be logical"),
    (Case("exp", [i(2)]), "x has integer elements (i64); they must be scalar"),
    (Case("select", [f(2), f(2), f(2)]), "condition has scalar elements (f32); they must be logical"),
    (
        Case("select", [b(2), f(2), i(2)]),
        "true_value has elements of type f32 and false_value of type i64; they must be equal",
    ),
    (
        Case("clamp", [f(2, 3), f(1, 2), 1.0]),
        "a has shape [1,2] and x has shape [2,3]: the extents 2 and 3 of dimension 1 differ; they must "
        "be equal or one of them 1 (dimensions are aligned from the first)",
    ),
    (Case("pow", [b(2), b(2)]), "x has logical elements (bool); they must be scalar or integer"),
    (Case("exp", [i(2)]), "x has integer elements (i64); they must be scalar"),
    (Case("bitwise_and", [f(2), f(2)]), "x has scalar elements (f32); they must be integer"),
    (Case("shift_left", [b(2), b(2)]), "x has logical elements (bool); they must be integer"),
    (Case("is_nan", [i(2)]), "x has integer elements (i64); they must be scalar"),
    (Case("and", [b(2), f(2)]), "y has scalar elements (f32); they must be logical"),
    (Case("copy_n", [f(2)], {"times": 0}), "times = 0 is out of range; it must be 1 to 65536"),
    (Case("copy_n", [f(2)], {"times": 10**9}), "times = 1000000000 is out of range; it must be 1 to 65536"),
    (
        Case("add_n", [f(2), f(3)]),
        "x[0] has shape [2] and x[1] has shape [3]: the extents 2 and 3 of dimension 0 differ; they "
        "must be equal or one of them 1 (dimensions are aligned from the first)",
    ),
    (Case("cast", [f(2)], {"dtype": None}), "dtype = None must be an element type"),
    (
        Case("sum_reduce", [f(2, 3)], {"axes": [2]}),
        "axes = [2] contains 2; the input has rank 2, so each must be 0 to 1",
    ),
    (
        Case("sum_reduce", [f(2, 3)], {"axes": [-1]}),
        "axes = [-1] contains -1; the input has rank 2, so each must be 0 to 1",
    ),
    (Case("max_reduce", [f(2, 3)], {"axes": [1, 1]}), "axes = [1,1] repeats an item; each may occur once"),
    (Case("all_reduce", [f(2)], {"axes": [0]}), "input has scalar elements (f32); they must be logical"),
    (
        Case("sum_reduce", [1.0], {"axes": [0]}),
        "axes = [0] contains 0; the input has rank 0, so there is none to choose",
    ),
    (Case("softmax", [f(4)]), "axes = [1] contains 1; the input has rank 1, so each must be 0 to 0"),
    (Case("softmax", [f(4, 4)], {"axes": 1}), "axes = 1 must be an array of integers"),
    (Case("softmax", [f(4, 4)], {"axes": [True]}), "axes contains True; it must be integers"),
    (
        Case("local_response_normalization", [f(1, 4, 8, 8)], {"size": [5]}),
        "size = [5] has 1 items; it must have 4, the rank of the input",
    ),
    (
        Case("local_mean_normalization", [f(1, 4)], {"size": [0, 1]}),
        "size = [0,1] contains 0; every item must be positive",
    ),
    (
        Case("batch_normalization", [f(1, 8, 4, 4), f(1, 5), f(1, 8), f(1, 8), f(1, 8)], {"epsilon": 1e-3}),
        "mean has shape [1,5] and input has shape [1,8,4,4]: the extents 5 and 8 of dimension 1 differ; "
        "they must be equal or one of them 1 (dimensions are aligned from the first)",
    ),
    (
        Case("reshape", [f(2, 3)], {"shape": [4, 2]}),
        "shape = [4,2] has 8 elements; it must have the 6 elements of the dimensions [2,3] to be reshaped",
    ),
    (
        Case("reshape", [f(2, 3)], {"shape": [-1, -1]}),
        "shape = [-1,-1] contains -1 more than once, so the extents are not determined",
    ),
    (Case("reshape", [f(2, 3)], {"shape": [-2, 3]}), "shape = [-2,3] contains -2; items must be positive, 0 or -1"),
    (
        Case("reshape", [f(2, 3)], {"shape": [4, -1]}),
        "shape = [4,-1]: 4 does not divide the 6 elements of the dimensions [2,3] to be reshaped, so -1 "
        "stands for no extent",
    ),
    (
        Case("reshape", [f(2, 3)], {"shape": [2, 3, 0]}),
        "item 2 of shape = [2,3,0] is 0, but the input has no dimension 2 to inherit",
    ),
    (
        Case("reshape", [f(2, 3)], {"shape": [3], "axis_start": 3}),
        "axis_start = 3 is out of range; the input has rank 2, so it must be 0 to 2",
    ),
    (
        Case("reshape", [f(2, 3)], {"shape": [3], "axis_start": 1, "axis_count": 2}),
        "axis_count = 2 is out of range; the input has rank 2 and axis_start is 1, so it must be -1 "
        "(all that follow) or 0 to 1",
    ),
    (
        Case("reshape", [f(2, 3)], {"shape": [2] * 40}),
        "shape = [2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,...] has 40 items; a tensor may have 32 dimensions at most",
    ),
    (Case("squeeze", [f(2, 1)], {"axes": [0]}), "axes = [0]: dimension 0 of [2,1] must have extent 1"),
    (Case("squeeze", [f(2, 1)], {"axes": [5]}), "axes = [5] contains 5; the input has rank 2, so each must be 0 to 1"),
    (
        Case("unsqueeze", [f(2, 1)], {"axes": [4]}),
        "axes = [4] contains 4; the result has rank 3, so each must be 0 to 2",
    ),
    (
        Case("unsqueeze", [f(2)], {"axes": list(range(40))}),
        "the result would have 41 dimensions; at most 32 are allowed",
    ),
    (Case("transpose", [f(2, 3)], {"axes": [0, 0]}), "axes = [0,0] must be a permutation of 0 to 1"),
    (Case("transpose", [f(2, 3)], {"axes": [0, 1, 2]}), "axes = [0,1,2] has 3 items, but the input has rank 2"),
    (Case("transpose", [f(2, 3)], {"axes": [1]}), "axes = [1] must be a permutation of 0 to 0"),
    (
        Case("split", [f(2, 10)], {"axis": 1, "ratios": [1, 2]}),
        "ratios = [1,2] add up to 3, which does not divide the extent 10 of dimension 1",
    ),
    (
        Case("split", [f(2, 10)], {"axis": 1, "ratios": [0, 5]}),
        "ratios = [0,5] contains 0; every item must be positive",
    ),
    (
        Case("split", [f(2, 10)], {"axis": 2, "ratios": [1]}),
        "axis = 2 is out of range: the input has rank 2, so it must be 0 to 1",
    ),
    (Case("split", [f(2, 10)], {"axis": 1, "ratios": []}), "ratios = [] must have at least one item"),
    (
        Case("concat", [f(2, 3), f(3, 2)], {"axis": 0}),
        "values[1] has shape [3,2] and values[0] has shape [2,3]; they may differ only in dimension 0, the axis",
    ),
    (Case("concat", [], {"axis": 0}), "values = [] must have at least one item"),
    (
        Case("concat", [f(2), i(2)], {"axis": 0}),
        "values[0] has elements of type f32 and values[1] of type i64; they must be equal",
    ),
    (
        Case("concat", [f(2), f(2)], {"axis": -1}),
        "axis = -1 is out of range: values[0] has rank 1, so it must be 0 to 0",
    ),
    (
        Case("stack", [f(2), f(3)], {"axis": 0}),
        "values[1] has shape [3] and values[0] has shape [2]; they must be equal",
    ),
    (Case("stack", [f(2), f(2)], {"axis": 2}), "axis = 2 is out of range: the result has rank 2, so it must be 0 to 1"),
    (
        Case("unstack", [f(2**20)], {"axis": 0}),
        "unstacking the extent 1048576 of dimension 0 gives too many tensors; at most 65536 may be",
    ),
    (Case("unstack", [f(2)], {"axis": 1}), "axis = 1 is out of range: the input has rank 1, so it must be 0 to 0"),
    (
        Case("slice", [f(8)], {"axes": [0], "begin": [1, 2], "end": [3]}),
        "begin = [1,2] has 2 items; it must have 1, as many as axes",
    ),
    (
        Case("slice", [f(8)], {"axes": [0], "begin": [5], "end": [3]}),
        "begin = 5, end = 3, stride = 1 of dimension 0, which has extent 8: there are no elements from "
        "5 to 3; at least one must be taken",
    ),
    (
        Case("slice", [f(8)], {"axes": [0], "begin": [3], "end": [3]}),
        "begin = 3, end = 3, stride = 1 of dimension 0, which has extent 8: there are no elements from "
        "3 to 3; at least one must be taken",
    ),
    (
        Case("slice", [f(8)], {"axes": [0], "begin": [-9], "end": [3]}),
        "begin = -9, end = 3, stride = 1 of dimension 0, which has extent 8: the first element would be "
        "-1; it must be 0 to 7",
    ),
    (
        Case("slice", [f(8)], {"axes": [0], "begin": [8], "end": [3], "stride": [-1]}),
        "begin = 8, end = 3, stride = -1 of dimension 0, which has extent 8: the first element would be "
        "8; it must be 0 to 7",
    ),
    (
        Case("slice", [f(8)], {"axes": [0], "begin": [0], "end": [3], "stride": [0]}),
        "stride = [0] contains 0; no item may be 0",
    ),
    (
        Case("slice", [f(8)], {"axes": [1], "begin": [0], "end": [3]}),
        "axes = [1] contains 1; the input has rank 1, so each must be 0 to 0",
    ),
    (
        Case("slice", [f(8, 8)], {"axes": [0, 0], "begin": [0, 0], "end": [3, 4]}),
        "axes = [0,0] repeats an item; each may occur once",
    ),
    (Case("pad", [i(8)], {"padding": [(1, 1)], "value": 0.5}), "value = 0.5 is no i64"),
    (Case("pad", [f(8)], {"padding": []}), "padding = [] has 0 items; it must have 1, the rank of the input"),
    (
        Case("pad", [f(8)], {"padding": [(-4, -4)]}),
        "the result would have the shape [0]; every extent must be positive",
    ),
    (
        Case("pad", [f(8)], {"padding": [(2**50, 0)]}),
        "the result would have the shape [1125899906842632]; at most 1099511627776 elements are allowed",
    ),
    (
        Case("pad", [f(8)], {"padding": [(1, 1)], "border": "ignore"}),
        "border = 'ignore' is unknown; it must be one of 'constant', 'replicate', 'reflect', 'reflect-even'",
    ),
    (Case("pad", [f(8)], {"padding": [1]}), "padding contains 1; each item must be a pair of integers"),
    (Case("tile", [f(8)], {"repeats": [2, 2]}), "repeats = [2,2] has 2 items; it must have 1, the rank of the input"),
    (Case("tile", [f(8)], {"repeats": [0]}), "repeats = [0] contains 0; every item must be positive"),
    (
        Case("tile", [f(8)], {"repeats": [2**40]}),
        "the result would have the shape [8796093022208]; at most 1099511627776 elements are allowed",
    ),
    (Case("gather", [f(8), f(2)]), "indices has scalar elements (f32); they must be integer"),
    (Case("gather", [f(8), i(2)], {"axis": 1}), "axis = 1 is out of range: the input has rank 1, so it must be 0 to 0"),
    (
        Case("gather", [f(8), i(2)], {"axis": -1}),
        "axis = -1 is out of range: the input has rank 1, so it must be 0 to 0",
    ),
    (
        Case("min_max_linear_quantize", [f(8), 0.0, 1.0], {"bits": 0, "signed": False, "symmetric": False}),
        "bits = 0 is out of range; it must be 1 to 64",
    ),
    (
        Case("zero_point_linear_quantize", [f(8), 0, 1.0], {"bits": 1, "signed": True, "symmetric": True}),
        "bits = 1 leaves a single code where signed and symmetric are true; use 2 or more",
    ),
    (
        Case("zero_point_linear_quantize", [f(8), 0.0, 1.0], {"bits": 8, "signed": True, "symmetric": True}),
        "zero_point has scalar elements (f32); they must be integer",
    ),
    (
        Case("linear_quantize", [f(8), 0.0, 1.0], {"bits": 10**9}),
        "bits = 1000000000 is out of range; it must be 1 to 64",
    ),
    (
        Case("external", [], {"shape": [0, 2], "dtype": DType.F32}),
        "shape = [0,2] contains 0; every item must be positive",
    ),
    (
        Case("external", [], {"shape": [2**21, 2**21], "dtype": DType.F32}),
        "the tensor would have the shape [2097152,2097152]; at most 1099511627776 elements are allowed",
    ),
    (
        Case("constant", [], {"shape": [2, 2], "value": [1.0, 2.0], "dtype": DType.F32}),
        "value has 2 items; the shape [2,2] needs 4, or 1 that is repeated",
    ),
    (Case("constant", [], {"shape": [2], "value": [True], "dtype": DType.F32}), "value contains True, which is no f32"),
    (Case("constant", [], {"shape": [2], "value": [1.5], "dtype": DType.I64}), "value contains 1.5, which is no i64"),
    (
        Case("constant", [], {"shape": [-1], "value": [1.5], "dtype": DType.F32}),
        "shape = [-1] contains -1; every item must be positive",
    ),
    (Case("variable", [], {"shape": [2], "label": "", "dtype": DType.F32}), "label = '' must not be empty"),
    (
        Case("variable", [], {"shape": [2], "label": "a b*", "dtype": DType.F32}),
        "label = 'a b*' contains ' ' '*'; it may contain letters, digits and _ - . / \\",
    ),
    (Case("update", [f(2), f(3)]), "value has shape [3] and variable has shape [2]; they must be equal"),
    (Case("update", [f(2), i(2)]), "variable has elements of type f32 and value of type i64; they must be equal"),
    (
        Case("constant", [], {"shape": [2], "value": [2**70], "dtype": DType.I64}),
        "value contains 1180591620717411303424, which is no i64",
    ),
]


@pytest.mark.parametrize("case, message", REJECTED, ids=str)
def test_rejected(case: Case, message: str) -> None:
    with pytest.raises(InvalidModelError) as caught:
        case.graph()
    assert caught.value.message == message

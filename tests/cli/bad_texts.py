"""Texts of graph.nnef that break a rule: by name, the text and a part of the message that must name the fault."""

from __future__ import annotations

EXTENSIONS = "extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"


def flat(statement: str, *, shape: str = "[1, 4, 8, 8]", before: str = "", output: str = "y") -> str:
    """A graph of one external ``x`` and the statements."""
    return (
        f"version 1.0;\n{EXTENSIONS}{before}"
        f"graph G(x) -> ({output})\n{{\n    x = external<scalar>(shape = {shape});\n    {statement}\n}}\n"
    )


def weights(shape: str) -> str:
    """A constant filter ``w`` for the statements after it."""
    return f"w = constant<scalar>(shape = {shape}, value = [0.5]);\n    "


def nested(depth: int, left: str, middle: str, right: str) -> str:
    return f"y = copy({left * depth}{middle}{right * depth});"


BOMB = "".join(
    f"fragment f{i}(x: tensor<scalar>) -> (y: tensor<scalar>) {{ a = f{i + 1}(x); y = f{i + 1}(a); }}\n"
    for i in range(40)
)
BOMB += "fragment f40(x: tensor<scalar>) -> (y: tensor<scalar>) { y = relu(x); }\n"
LOOP = "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = f(x); }\n"
MUTUAL = (
    "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = g(x); }\n"
    "fragment g(x: tensor<scalar>) -> (y: tensor<scalar>) { y = f(x); }\n"
)
RELU = "fragment my(x: tensor<scalar>) -> (y: tensor<scalar>) { y = relu(x); }\n"

SYNTAX = {
    "empty text": ("", "expected 'version'"),
    "only a comment": ("# nothing\n", "expected 'version'"),
    "no version": ("graph G(x) -> (y) { x = external(shape = [1]); y = copy(x); }", "expected 'version'"),
    "future version": (flat("y = copy(x);").replace("1.0", "2.0"), "version 2.0"),
    "no graph": ("version 1.0;\n", "ends too early"),
    "NUL character": (flat("y = copy(x);\0"), "'\\x00'"),
    "stray character": (flat("y = copy(x) @;"), "'@'"),
    "open string": (flat("y = variable(shape = [1], label = 'w);"), "closing quote"),
    "no semicolon": (flat("y = copy(x)"), "';'"),
    "no closing brace": (flat("y = copy(x);").rstrip().rstrip("}"), "'}'"),
    "text after the graph": (flat("y = copy(x);") + "and more", "expected the end"),
    "two graphs": (
        flat("y = copy(x);") + "graph H(x) -> (y) { x = external(shape = [1]); y = copy(x); }",
        "expected the end",
    ),
    "trailing comma": (flat("y = reshape(x, shape = [1, 256,]);"), "unexpected ']'"),
    "keyword as a name": (flat("if = copy(x);", output="if"), "unexpected 'if'"),
    "deep parentheses": (flat(nested(100_000, "(", "x", ")")), "64 deep"),
    "deep brackets": (flat(nested(100_000, "[", "x", "]")), "64 deep"),
    "deep negation": (flat(nested(100_000, "-", "x", "")), "64 deep"),
    "deep choice": (flat(nested(50_000, "x if true else ", "x", "")), "64 deep"),
    "deep calls": (flat(nested(50_000, "relu(", "x", ")")), "64 deep"),
    "long number": (flat(f"y = add(x, {'9' * 100_000}.0);"), "at most 400"),
    "huge integer": (flat(f"y = reshape(x, shape = [{'9' * 60}]);"), "64 bits"),
    "infinite number": (flat("y = add(x, 1e999);"), "too large"),
}

NAMES = {
    "unknown operation": (flat("y = frobnicate(x);"), "frobnicate"),
    "misspelt operation": (flat("y = rleu(x);"), "rleu"),
    "undefined tensor": (flat("y = add(x, q);"), "q"),
    "use before definition": (flat("y = relu(z); z = relu(x);"), "z"),
    "defined twice": (flat("y = relu(x); y = tanh(x);"), "y"),
    "output undefined": (flat("z = relu(x);"), "y"),
    "output named twice": (flat("y = relu(x);", output="y, y"), "y"),
    "input without external": (flat("y = relu(x);").replace("(x) ->", "(x, u) ->"), "u"),
    "external that is no input": (flat("u = external<scalar>(shape = [1]); y = relu(x);"), "u"),
    "unknown parameter": (flat("y = relu(x, slope = 0.1);"), "slope"),
    "missing parameter": (flat("y = reshape(x);"), "shape"),
    "parameter given twice": (flat("y = reshape(x, shape = [256], shape = [256]);"), "shape"),
    "too many arguments": (flat("y = relu(x, x, x);"), "relu"),
    "too many results": (flat("(y, z) = relu(x);"), "relu"),
    "fragment defined twice": (flat("y = my(x);", before=RELU + RELU), "my"),
    "standard operation redefined": (flat("y = relu(x);", before=RELU.replace("my", "relu", 1)), "relu"),
    "variable in a fragment": (
        flat(
            "y = f(x);",
            before="fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) "
            "{ v = variable(shape = [1], label = 'v'); y = add(x, v); }\n",
        ),
        "variable",
    ),
    "result not assigned": (
        flat("y = f(x);", before="fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { z = relu(x); }\n"),
        "y",
    ),
    "update of no variable": (flat("y = update(x, x);"), "update"),
}

TYPES = {
    "text for a number": (flat("y = leaky_relu(x, alpha = 'a');"), "alpha"),
    "number for an array": (flat("y = transpose(x, axes = 'ab');"), "axes"),
    "scalar for integers": (flat("y = reshape(x, shape = [1.5]);"), "shape"),
    "logical tensor in arithmetic": (flat("b = lt(x, 0.0); y = add(x, b);"), "logical"),
    "number for a logical tensor": (flat("y = not(x);"), "not"),
    "condition of numbers": (flat("y = select(x, x, x);"), "select"),
    "open generic type": (flat("y = cast(x);"), "cast"),
    "array for a tensor": (flat("y = relu([x, x]);"), "relu"),
    "constant of another type": (flat("c = constant<integer>(shape = [2], value = [1.5]); y = relu(x);"), "value"),
}

BOUNDS = {
    "endless recursion": (flat("y = f(x);", before=LOOP), "calls itself"),
    "mutual recursion": (flat("y = f(x);", before=MUTUAL), "calls itself"),
    "fragment bomb": (flat("y = f0(x);", before=BOMB), "operations"),
    "long range": (flat("y = add_n([for i in range_of([1] * 1000000000) yield x]);"), "16000000"),
    "array bomb": (flat("y = reshape(x, shape = [1] * 4000000000);"), "16000000"),
    "text bomb": (flat("y = variable(shape = [1], label = 'a' * 4000000000);"), "16000000"),
    "nested loops": (
        flat("y = add_n([for a in [1] * 9999 yield add_n([for b in [1] * 9999 yield add_n([x, x])])]);"),
        "operations",
    ),
    "shape beyond any memory": (
        flat("y = relu(x);", shape="[1000000000, 1000000000, 1000000000]"),
        "elements are allowed",
    ),
    "result beyond any memory": (
        flat("y = tile(x, repeats = [1000000, 1000000, 1000000, 1]);"),
        "elements are allowed",
    ),
    "window beyond reason": (
        flat("y = box(x, size = [1, 1, 1000000000000, 1000000000000], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);"),
        "window covers",
    ),
    "padding beyond any memory": (
        flat("y = pad(x, padding = [(0, 0), (0, 0), (4000000000, 0), (4000000000, 0)]);"),
        "elements are allowed",
    ),
    "rank beyond reason": (flat("y = relu(x);", shape="[" + "1, " * 5000 + "1]"), "5001 dimensions"),
}

SHAPES = {
    "negative extent": (flat("y = relu(x);", shape="[1, -4, 8, 8]"), "contains -4"),
    "zero extent": (flat("y = relu(x);", shape="[1, 0, 8, 8]"), "contains 0"),
    "broadcast of unequal extents": (flat(weights("[1, 3]") + "y = add(x, w);"), "add"),
    "broadcast aligned at the end": (flat(weights("[8]") + "y = add(x, w);", shape="[2, 4, 8, 8]"), "add"),
    "channels of a filter": (flat(weights("[4, 3, 3, 3]") + "y = conv(x, w, 0.0);"), "3 channels"),
    "rank of a filter": (flat(weights("[4, 4, 3]") + "y = conv(x, w, 0.0);"), "filter"),
    "stride of zero": (flat(weights("[4, 4, 3, 3]") + "y = conv(x, w, 0.0, stride = [0, 1]);"), "stride"),
    "negative stride": (flat(weights("[4, 4, 3, 3]") + "y = conv(x, w, 0.0, stride = [-1, 1]);"), "stride"),
    "length of stride": (flat(weights("[4, 4, 3, 3]") + "y = conv(x, w, 0.0, stride = [1, 1, 1]);"), "stride"),
    "dilation of zero": (flat(weights("[4, 4, 3, 3]") + "y = conv(x, w, 0.0, dilation = [0, 1]);"), "dilation"),
    "length of padding": (flat(weights("[4, 4, 3, 3]") + "y = conv(x, w, 0.0, padding = [(0, 0)]);"), "padding"),
    "groups that do not divide": (flat(weights("[4, 1, 3, 3]") + "y = conv(x, w, 0.0, groups = 3);"), "groups"),
    "filter larger than its input": (
        flat(weights("[4, 4, 9, 9]") + "y = conv(x, w, 0.0, padding = [(0, 0), (0, 0)]);"),
        "window covers 9",
    ),
    "border of a convolution": (flat(weights("[4, 4, 3, 3]") + "y = conv(x, w, 0.0, border = 'torn');"), "torn"),
    "shape of a bias": (
        flat(weights("[4, 4, 3, 3]") + "b = constant<scalar>(shape = [1, 3], value = [0.0]); y = conv(x, w, b);"),
        "bias",
    ),
    "output shape of a deconvolution": (
        flat(weights("[4, 4, 3, 3]") + "y = deconv(x, w, 0.0, stride = [2, 2], output_shape = [1, 4, 99, 99]);"),
        "99",
    ),
    "pool window of zero": (flat("y = max_pool(x, size = [1, 1, 0, 2]);"), "size"),
    "length of a pool window": (flat("y = max_pool(x, size = [2, 2]);"), "size"),
    "border of a pool": (flat("y = avg_pool(x, size = [1, 1, 2, 2], border = 'wild');"), "wild"),
    "reshape to another volume": (flat("y = reshape(x, shape = [1, 255]);"), "255"),
    "two open extents": (flat("y = reshape(x, shape = [-1, -1]);"), "-1"),
    "transpose twice the same axis": (flat("y = transpose(x, axes = [0, 0, 1, 2]);"), "axes"),
    "transpose axis too large": (flat("y = transpose(x, axes = [0, 1, 2, 9]);"), "axes"),
    "squeeze of a real extent": (flat("y = squeeze(x, axes = [1]);"), "axes"),
    "unsqueeze axis too large": (flat("y = unsqueeze(x, axes = [9]);"), "axes"),
    "concat along no axis": (flat("y = concat([x, x], axis = 7);"), "axis"),
    "concat of unequal extents": (flat(weights("[1, 4, 8, 7]") + "y = concat([x, w], axis = 1);"), "concat"),
    "concat of nothing": (flat("y = concat([], axis = 0);"), "concat"),
    "split that does not divide": (flat("[y, z] = split(x, axis = 1, ratios = [1, 2]);"), "ratios"),
    "split into another number": (flat("[y, z] = split(x, axis = 1, ratios = [1, 1, 2]);"), "3 tensors"),
    "slice outside": (flat("y = slice(x, axes = [1], begin = [9], end = [12]);"), "begin = 9"),
    "slice without step": (flat("y = slice(x, axes = [1], begin = [0], end = [2], stride = [0]);"), "stride"),
    "slice of unequal lists": (flat("y = slice(x, axes = [1, 2], begin = [0], end = [2]);"), "begin"),
    "pad with another border": (flat("y = pad(x, padding = [(0, 0), (0, 0), (1, 1), (1, 1)], border = 'odd');"), "odd"),
    "tile none times": (flat("y = tile(x, repeats = [1, 0, 1, 1]);"), "repeats"),
    "stack of unequal shapes": (flat(weights("[1, 4, 8, 7]") + "y = stack([x, w], axis = 0);"), "stack"),
    "gather with numbers": (flat("y = gather(x, x, axis = 0);"), "gather"),
    "product of unequal extents": (flat(weights("[1, 4, 7, 3]") + "y = matmul(x, w);"), "matmul"),
    "linear of unequal extents": (flat(weights("[5, 6]") + "y = linear(x, w, 0.0);", shape="[2, 7]"), "linear"),
    "softmax along no axis": (flat("y = softmax(x, axes = [5]);"), "axes"),
    "reduction along an axis twice": (flat("y = sum_reduce(x, axes = [1, 1]);"), "axes"),
    "upsampling by zero": (flat("y = nearest_upsample(x, factor = [0, 2]);"), "factor"),
    "downsampling that does not divide": (flat("y = area_downsample(x, factor = [3, 3]);"), "factor"),
    "another method of upsampling": (flat("y = multilinear_upsample(x, factor = [2, 2], method = 'neat');"), "neat"),
    "number of constant values": (flat("c = constant<scalar>(shape = [3], value = [1.0, 2.0]); y = relu(x);"), "value"),
    "mean of another length": (
        flat(
            "m = constant<scalar>(shape = [1, 5], value = [0.0]); "
            "y = batch_normalization(x, m, 1.0, 0.0, 1.0, epsilon = 1e-5);"
        ),
        "mean has shape [1,5]",
    ),
}

TEXTS = {**SYNTAX, **NAMES, **TYPES, **BOUNDS, **SHAPES}

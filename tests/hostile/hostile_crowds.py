"""Crowds of operations and tensors, folding bombs, and the project's own operations: see ``hostile_texts``."""

from __future__ import annotations

from hostile_texts import (
    CALLS,
    GEOMETRY,
    INVALID,
    MEMORIES,
    MEMORY,
    TABLES,
    TAKE,
    UNSUPPORTED,
    Hostile,
    chain,
    fan,
    filters,
    flat,
    many,
)

CROWDS: dict[str, Hostile] = {
    "a concat of 60000": (flat(f"y = concat({many(['x'] * 60000)}, axis = 0);", "[2,2]"), UNSUPPORTED, CALLS),
    "a concat of 8000": (flat(f"y = concat({many(['x'] * 8000)}, axis = 0);", "[2,2]"), 0, ""),
    "a sum of 20000": (flat(f"y = add_n({many(['x'] * 20000)});", "[2,2]"), 0, ""),
    "a chain of 5000": (flat(chain("relu", 5000)), 0, ""),
    "a chain of 5000 that does not fuse": (flat(chain("softmax", 5000), "[1,3]"), 0, ""),
    "a chain of 30000": (flat(chain("relu", 30000)), INVALID, "more than 20000 operations"),
    "a chain of constants": (
        flat("x0 = constant<scalar>(shape = [1], value = [1.0]);" + chain("sin", 5000).replace("(x)", "(x0)"), "[1]"),
        0,
        "",
    ),
    "a chain after a part constant": (
        flat(
            "c = constant<scalar>(shape = [1], value = [1.0]); j = concat([c, x], axis = 0);\n"
            + chain("softmax", 5000).replace("(x)", "(j, axes = [0])").replace("softmax(t", "sin(t"),
            "[1]",
        ),
        0,
        "",
    ),
    "doubled 3000 times": (
        flat(
            "\n".join(f"t{i} = add({f't{i - 1},t{i - 1}' if i else 'x,x'});" for i in range(3000)) + "y = copy(t2999);"
        ),
        0,
        "",
    ),
    "5000 readers": (flat(fan(5000, "relu(x)", "concat({all}, axis = 0)"), "[2,2]"), 0, ""),
    "5000 outputs": (
        flat("\n".join(f"t{i} = relu(x);" for i in range(5000)), "[2,2]", ",".join(f"t{i}" for i in range(5000))),
        0,
        "",
    ),
    "4200 kernels": (
        flat(fan(4200, "sum_reduce(leaky_relu(x, alpha = 0.{i}1), axes = [0])", "add_n({all})"), "[2,2]"),
        UNSUPPORTED,
        "different kernels",
    ),
    "4000 slices": (
        flat(fan(4000, "slice(x, axes = [0], begin = [{i}], end = [0])", "concat({all}, axis = 0)"), "[4001,2]"),
        0,
        "",
    ),
    "one label 5000 times": (
        flat(
            "\n".join(f"v{i} = variable<scalar>(shape = [2,2], label = 'a');" for i in range(5000))
            + "u = update(v0, x); y = copy(v4999);",
            "[2,2]",
        ),
        INVALID,
        "no stored values",
    ),
}

FOLDING: dict[str, Hostile] = {
    "a constant tiled to 520 MB": (
        flat(
            "c = constant<scalar>(shape = [1,1], value = [1.0]); t = tile(sin(c), repeats = [10000,13000]);"
            "s = sum_reduce(t, axes = [0,1]); y = x + s;",
            "[1,1]",
        ),
        0,
        "",
    ),
    "a constant tiled 200 times": (
        flat(
            "c = constant<scalar>(shape = [1,1], value = [1.0]);"
            + fan(200, "sum_reduce(tile(sin(c), repeats = [1000,1{i}]), axes = [0,1])", "x + add_n({all})"),
            "[1,1]",
        ),
        0,
        "",
    ),
    "a convolution of constants": (
        flat(
            "c = constant<scalar>(shape = [1,64,500,500], value = [1.0]);"
            + filters("[64,64,7,7]")
            + "s = conv(c, w, 0.0); y = x + s;",
            "[1,1]",
        ),
        0,
        "",
    ),
    "functions of a large constant": (
        flat(
            "c = constant<scalar>(shape = [1,64,1000,1000], value = [1.0]);s = sigmoid(pow(sin(c), c)); y = x + s;",
            "[1,1]",
        ),
        0,
        "",
    ),
    "4000 small constants": (
        flat(
            fan(4000, "constant<scalar>(shape = [256,256], value = [{i}.0])", "x + add_n({all})"),
            "[1,1]",
        ),
        0,
        "",
    ),
    "tables of many upsamplings": (
        flat(
            fan(
                400,
                "multilinear_upsample(x, factor = [1000{i},1], border = 'replicate', method = 'aligned')",
                "concat({all}, axis = 2)",
            ),
            "[1,1,8,1]",
        ),
        UNSUPPORTED,
        TABLES,
    ),
}


def extended(statement: str, shape: str, other: str, dtype: str = "scalar") -> str:
    """A graph of x and r, with the operations of the project's own extension."""
    head = "version 1.0;\nextension NNEFC_operations;\ngraph G(x, r) -> (y)\n{\n"
    head += f"    x = external<scalar>(shape = {shape});\n"
    return f"{head}    r = external<{dtype}>(shape = {other});\n    {statement}\n}}\n"


CELLS = "b = constant<integer>(shape = [3], value = [0]); y = roi_align(x, r, b, output_size = [{n},7], "
OWN: dict[str, Hostile] = {
    "resize to 10**7": (
        extended("y = resize(x, size = [1,10000000], scale = [1.0,1250000.0]);", "[1,8]", "[1]"),
        INVALID,
        "needs too many weights",
    ),
    "many resizes": (
        extended(
            fan(200, "resize(x, size = [1,1000{i}], scale = [1.0,1250.0])", "concat({all}, axis = 1)"), "[1,8]", "[1]"
        ),
        UNSUPPORTED,
        TABLES,
    ),
    "10**12 samples of a region": (
        extended(CELLS.replace("{n}", "7") + "sampling_rate = [1000000,1000000]);", "[1,4,8,8]", "[3,4]"),
        INVALID,
        TAKE,
    ),
    "10**7 aligned cells": (
        extended(CELLS.replace("{n}", "70000000") + "sampling_rate = [1,1]);", "[1,4,8,8]", "[3,4]"),
        UNSUPPORTED,
        TABLES,
    ),
    "a grid of 10**11 points": (
        extended("y = grid_sample(x, r, method = 'cubic');", "[1,4,8,8]", "[1,1000000,100000,2]"),
        UNSUPPORTED,
        MEMORY,
    ),
    "suppression of 10**11 boxes": (
        extended(
            f"y, c = non_max_suppression(x, r, max_output = {2**63 - 1}, iou_threshold = 0.5, score_threshold = 0.0);",
            "[1,1000000,4]",
            "[1,100000,1000000]",
        ),
        UNSUPPORTED,
        MEMORY,
    ),
    "a scan of a large constant": (
        extended(
            "c = constant<scalar>(shape = [4000,4000], value = [1.0]); s = cumulate(c, axis = 0); y = add(x, s);",
            "[1,1]",
            "[1]",
        ),
        0,
        "",
    ),
}

TEXTS = {**MEMORIES, **GEOMETRY, **CROWDS, **FOLDING, **OWN}

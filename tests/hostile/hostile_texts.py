"""Valid or nearly valid texts that ask for absurd memory, time or geometry: by name, the text, the exit code that it
must end with (0: it compiles) and a part of the message."""

from __future__ import annotations

from collections.abc import Iterable

EXTENSIONS = "extension KHR_enable_fragment_definitions, KHR_enable_operator_expressions;\n"
INVALID, UNSUPPORTED = 3, 4
Hostile = tuple[str, int, str]
TAKE = "at most 1099511627776"
MEMORY = "at most 1099511627776"
TABLES = "at most 16777216 are supported"
CALLS = "more than 32768 kernel calls"


def flat(statements: str, shape: str = "[1,4,8,8]", output: str = "y", dtype: str = "scalar") -> str:
    """A graph of one external ``x`` and the statements."""
    head = f"version 1.0;\n{EXTENSIONS}graph G(x) -> ({output})\n{{\n    x = external<{dtype}>(shape = {shape});\n"
    return f"{head}    {statements}\n}}\n"


def filters(shape: str) -> str:
    return f"w = constant<scalar>(shape = {shape}, value = [0.5]);\n    "


def index(shape: str) -> str:
    return f"i = constant<integer>(shape = {shape}, value = [0]);\n    "


def regions(statement: str, shape: str = "[1,1,4,4]", count: int = 1) -> str:
    corners = 2 * (len(shape.split(",")) - 2)
    return (
        f"version 1.0;\n{EXTENSIONS}graph G(x, r, b) -> (y)\n{{\n    x = external<scalar>(shape = {shape});\n"
        f"    r = external<scalar>(shape = [{count},{corners}]);\n    b = external<integer>(shape = [{count},1]);\n"
        f"    y = {statement};\n}}\n"
    )


def many(items: Iterable[object]) -> str:
    return "[" + ",".join(map(str, items)) + "]"


def chain(function: str, count: int) -> str:
    lines = [f"t{i} = {function}({f't{i - 1}' if i else 'x'});" for i in range(count)]
    return "\n".join([*lines, f"y = copy(t{count - 1});"])


def fan(count: int, statement: str, gather: str) -> str:
    """``count`` operations on x (``{i}`` is the number of each), and one on all their results."""
    lines = [f"t{i} = " + statement.replace("{i}", str(i)) + ";" for i in range(count)]
    return "\n".join([*lines, f"y = {gather.replace('{all}', many(f't{i}' for i in range(count)))};"])


NO_PAD = "padding = [(0,0),(0,0),(0,0),(0,0)]"
FAR = 2**62

MEMORIES: dict[str, Hostile] = {
    "a tensor beyond 64 bits": (flat("y = relu(x);", "[4294967296,4294967296]"), INVALID, TAKE),
    "an input of 4 TB": (flat("y = relu(x);", "[1099511627776]"), UNSUPPORTED, MEMORY),
    "an input of 120 GB": (flat("y = relu(x);", "[1,3,100000,100000]"), 0, ""),
    "a tile of 2 TB": (
        flat("t = tile(x, repeats = [1,1,65536,32768]); y = sum_reduce(softmax(t), axes = [2,3]);"),
        UNSUPPORTED,
        MEMORY,
    ),
    "tiles of tiles": (
        flat("\n".join(f"t{i} = tile({f't{i - 1}' if i else 'x'}, repeats = [4,4]);" for i in range(9)) + "y = -t8;"),
        INVALID,
        "repeats",
    ),
    "many large tensors at once": (
        flat(fan(900, "softmax(x * {i}.0)", "add_n({all})"), "[1,8,10000,10000]"),
        UNSUPPORTED,
        "the network needs",
    ),
    "a stored filter of 40 GB": (flat(filters("[100000,100000]") + "y = linear(x, w, 0.0);", "[1,100000]"), 0, ""),
    "a variable of 4 TB": (
        flat("v = variable<scalar>(shape = [1000000,1000000], label = 'v'); u = update(v, v); y = copy(x);"),
        INVALID,
        "no stored values",
    ),
    "a product of 2**60 steps": (
        flat("y = matmul(x, transpose(x, axes = [1,0]));", "[400000,400000]"),
        UNSUPPORTED,
        MEMORY,
    ),
    "sums of 2**60 terms": (
        flat("y = box(x, size = [1,1,999999,1], border = 'constant', stride = [1,1,1,1]);", "[1,100,1000000,100]"),
        UNSUPPORTED,
        "a call would read and write",
    ),
}

GEOMETRY: dict[str, Hostile] = {
    "deconv by strides of 64": (
        flat(filters("[4,4,3,3]") + "y = deconv(x, w, 0.0, stride = [64,64]);"),
        0,
        "",
    ),
    "deconv by strides of 100000": (
        flat(filters("[4,4,3,3]") + "y = deconv(x, w, 0.0, stride = [100000,100000]);"),
        INVALID,
        TAKE,
    ),
    "deconv over 20 dimensions": (
        flat(
            filters(many([1, 1] + [2] * 16)) + f"y = deconv(x, w, 0.0, stride = {many([2] * 16)});",
            many([1, 1] + [2] * 16),
        ),
        0,
        "",
    ),
    "ten deconvs of 4096 phases": (
        flat(
            filters("[4,4,1,1]") + fan(10, "deconv(x, w, 0.0, stride = [64,64])", "add_n({all})"),
        ),
        UNSUPPORTED,
        CALLS,
    ),
    "debox of 10**9": (
        flat(f"y = debox(x, size = [1,1,1000000000,1], {NO_PAD}, border = 'constant');"),
        UNSUPPORTED,
        "a call would read and write",
    ),
    "desample of 10**10 places": (
        flat(index("[1,4,8,8]") + f"y = desample(x, i, size = [1,1,1000000,10000], {NO_PAD}, border = 'constant');"),
        UNSUPPORTED,
        MEMORY,
    ),
    "sample of 10**10 places": (
        flat(index("[1,4,8,8]") + "y = sample(x, i, size = [1,1,100001,100001], border = 'constant');"),
        UNSUPPORTED,
        TABLES,
    ),
    "box of 10**9, reflected": (flat("y = box(x, size = [1,1,1000000001,1], border = 'reflect');"), 0, ""),
    "box of 10**6 over one element": (
        flat("y = box(x, size = [1,1,1000001,1], border = 'reflect');", "[1,1,1,1]"),
        0,
        "",
    ),
    "avg_pool as large as its input": (
        flat("y = avg_pool(x, size = [1,1,100001,1], border = 'ignore');", "[1,1,100000,1]"),
        0,
        "",
    ),
    "avg_pool over 40 GB": (
        flat("y = avg_pool(x, size = [1,1,3,3], border = 'ignore');", "[1,100,10000,10000]"),
        0,
        "",
    ),
    "dilation of 10**12": (
        flat("y = box(x, size = [1,1,3,1], dilation = [1,1,1000000000000,1], border = 'constant');"),
        INVALID,
        TAKE,
    ),
    "dilation of 2**62": (
        flat(f"y = box(x, size = [1,1,3,1], dilation = [1,1,{FAR},1], border = 'ignore');"),
        INVALID,
        TAKE,
    ),
    "stride of 2**62": (
        flat(f"y = max_pool(x, size = [1,1,3,1], stride = [1,1,{FAR},1], border = 'ignore');"),
        0,
        "",
    ),
    "padding of 2**62 that cancels": (
        flat(f"y = max_pool(x, size = [1,1,3,1], padding = [(0,0),(0,0),({FAR},-{FAR}),(0,0)], border = 'ignore');"),
        INVALID,
        TAKE,
    ),
    "negative padding of 2**62": (
        flat(f"y = max_pool(x, size = [1,1,3,1], padding = [(0,0),(0,0),(-{FAR},{FAR}),(0,0)], border = 'ignore');"),
        INVALID,
        TAKE,
    ),
    "padding of 2**39 that cancels": (
        flat(f"y = box(x, size = [1,1,3,1], padding = [(0,0),(0,0),({2**39},-{2**39}),(0,0)], border = 'reflect');"),
        INVALID,
        TAKE,
    ),
    "deconv with padding that cancels": (
        flat(filters("[4,4,3,3]") + f"y = deconv(x, w, 0.0, padding = [({2**39},-{2**39}),(0,0)]);"),
        UNSUPPORTED,
        MEMORY,
    ),
    "pad by 10**7, reflected": (
        flat("y = pad(x, padding = [(0,0),(0,0),(10000000,10000000),(0,0)], border = 'reflect', value = 0.0);"),
        0,
        "",
    ),
    "pad by 2**62 and cut": (
        flat(f"y = pad(x, padding = [(0,0),(0,0),({FAR},-{FAR - 8}),(0,0)], border = 'reflect', value = 0.0);"),
        UNSUPPORTED,
        MEMORY,
    ),
    "pad beyond 64 bits": (
        flat(f"y = pad(x, padding = [(0,0),(0,0),({2**70},0),(0,0)], border = 'reflect', value = 0.0);"),
        INVALID,
        "64 bits",
    ),
    "slice by steps of 2**62": (
        flat(f"y = slice(x, axes = [3], begin = [7], end = [8], stride = [{FAR}]);"),
        0,
        "",
    ),
    "conv with 3.6 * 10**9 taps": (flat(filters("[20,4,60001,60001]") + "y = conv(x, w, 0.0);"), UNSUPPORTED, MEMORY),
    "groups of 2**63 - 1": (flat(filters("[4,1,3,3]") + f"y = conv(x, w, 0.0, groups = {2**63 - 1});"), INVALID, ""),
    "64 dimensions": (flat("y = relu(x);", many([1] * 64)), INVALID, "at most 32"),
    "1004 dimensions": (flat(f"y = unsqueeze(x, axes = {many(range(1000))});"), INVALID, "at most 32"),
    "30 dimensions reversed": (
        flat(f"t = transpose(x, axes = {many(reversed(range(30)))}); y = relu(t);", many([2] * 30)),
        0,
        "",
    ),
    "conv over 20 dimensions": (
        flat(filters(many([1, 1] + [2] * 20)) + "y = conv(x, w, 0.0);", many([1, 1] + [3] * 20)),
        UNSUPPORTED,
        MEMORY,
    ),
    "100000 axes": (flat(f"y = sum_reduce(x, axes = {many([0] * 100000)});"), INVALID, "repeats an item"),
    "upsample by 10**8": (
        flat(
            "y = multilinear_upsample(x, factor = [100000000,1], border = 'replicate', method = 'symmetric');",
            "[1,1,8,1]",
        ),
        UNSUPPORTED,
        TABLES,
    ),
    "upsample by 10**8, aligned": (
        flat(
            "y = multilinear_upsample(x, factor = [100000000,1], border = 'replicate', method = 'aligned');",
            "[1,1,8,1]",
        ),
        UNSUPPORTED,
        TABLES,
    ),
    "10**9 cells in a region": (regions("avg_roi_pool(x, r, b, output_size = [1000000000,1])"), UNSUPPORTED, TABLES),
    "10**9 samples in a region": (
        regions(
            "avg_roi_align(x, r, b, output_size = [1000000,1], sampling_rate = [1000,1000], "
            "resize_method = 'symmetric')"
        ),
        UNSUPPORTED,
        TABLES,
    ),
    "10**9 regions": (
        regions("avg_roi_pool(x, r, b, output_size = [2,2,2])", "[1,1,4,4,4]", 10**9),
        UNSUPPORTED,
        TABLES,
    ),
}

# ruff: noqa: E501 (a row of a table is a line)
"""Compositional texts and the flat texts or values that they stand for."""

from __future__ import annotations

from nnef_texts import document

ONE = "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { %s }"

OPERATORS = {
    "y = x + x - x;": "y_add = add(x, x);\ny = sub(y_add, x);",
    "y = x - x * x;": "y_mul = mul(x, x);\ny = sub(x, y_mul);",
    "y = x ^ x ^ x;": "y_pow = pow(x, x);\ny = pow(y_pow, x);",
    "y = -x ^ x;": "y_pow = pow(x, x);\ny = neg(y_pow);",
    "y = x ^ -x;": "y_neg = neg(x);\ny = pow(x, y_neg);",
    "y = -x + x;": "y_neg = neg(x);\ny = add(y_neg, x);",
    "y = -x * x;": "y_neg = neg(x);\ny = mul(y_neg, x);",
    "y = x / -2.0;": "y = div(x, -2.0);",
    "y = 2.0 * (x - 1.0);": "y_sub = sub(x, 1.0);\ny = mul(2.0, y_sub);",
    "y = +x;": "y = copy(x);",
    "y = x;": "y = copy(x);",
    "y = x < 1.0 && x >= 0.0 || !(x == x);": (
        "y_lt = lt(x, 1.0);\ny_ge = ge(x, 0.0);\ny_and = and(y_lt, y_ge);\ny_eq = eq(x, x);\n"
        "y_not = not(y_eq);\ny = or(y_and, y_not);"
    ),
    "y = x > 1.0 || x <= 0.0 && x != 2.0;": (
        "y_gt = gt(x, 1.0);\ny_le = le(x, 0.0);\ny_or = or(y_gt, y_le);\ny_ne = ne(x, 2.0);\ny = and(y_or, y_ne);"
    ),
    "y = relu(sigmoid(x) + tanh(x));": (
        "y_sigmoid = sigmoid(x);\ny_tanh = tanh(x);\ny_add = add(y_sigmoid, y_tanh);\ny = relu(y_add);"
    ),
    "y, z = (x, relu(x));": "z = relu(x);\ny = copy(x);",
    "[y, z] = [exp(x), relu(x)];": "y = exp(x);\nz = relu(x);",
    "m, y = moments(x, axes = [1]);": "(m, y) = moments(x, axes = [1]);",
    "[y, z] = split(x, axis = 1, ratios = [1, 3]);": "[y, z] = split(x, axis = 1, ratios = [1, 3]);",
    "y = relu((x, -x)[1]);": "y_neg = neg(x);\ny = relu(y_neg);",
    "y = add(y = x, x = 1.0);": "y = add(1.0, x);",
}

ALPHA = {
    "1.0 + 2.0 * 3.0 ^ 2.0": "19.0",
    "2.0 ^ 3.0 ^ 2.0": "64.0",
    "-2.0 ^ 2.0": "-4.0",
    "(-2.0) ^ 2.0": "4.0",
    "2.0 ^ -1.0": "0.5",
    "-2.0 + 3.0": "1.0",
    "1.0 - 2.0 - 3.0": "-4.0",
    "scalar(7 / 2)": "3.0",
    "scalar(-7 / 2)": "-3.0",
    "scalar(7 / -2)": "-3.0",
    "scalar(integer(-1.5))": "-1.0",
    "scalar(2 ^ 62)": "4.611686018427388e+18",
    "scalar((-1) ^ 1000000001)": "-1.0",
    "scalar('1.5e-3')": "0.0015",
    "scalar(integer('-12'))": "-12.0",
    "scalar(true)": "1.0",
    "scalar(integer(false))": "0.0",
    "1.0 if true || 1 / 0 == 1 else 2.0": "1.0",
    "1.0 if false && 1 / 0 == 1 else 2.0": "2.0",
    "1.0 if true || false && false else 2.0": "2.0",
    "[1.0][1] if false else 3.0": "3.0",
    "1.0 if false else 2.0 if false else 3.0": "3.0",
    "1.0 if 3 in [1, 2, 3] else 2.0": "1.0",
    "1.0 if (1, [2]) in [(1, [3]), (1, [2])] else 2.0": "1.0",
    "1.0 if 3 in [] else 2.0": "2.0",
    "1.0 if 'a' + 'b' == 'ab' else 2.0": "1.0",
    "1.0 if 'abc'[1] == 'b' && 'abc'[1:] == 'bc' else 2.0": "1.0",
    "1.0 if 'ab' * 2 == 'abab' else 2.0": "1.0",
    "scalar(length_of('abc') + length_of([1, 2]))": "5.0",
    "scalar([for i in range_of('abcd') if i > 1 yield i * 10][1])": "30.0",
    "scalar([for i in [1, 2], (j, k) in [(3, 4), (5, 6)] yield i * j + k][1])": "16.0",
    "scalar(([1, 2] + [3] * 2)[3])": "3.0",
    "scalar(length_of([1, 2] * 0))": "0.0",
    "scalar(length_of([1, 2] * -3))": "0.0",
    "scalar([1, 2, 3][-1] + [1, 2, 3][-2:][0])": "5.0",
    "scalar(length_of([1, 2, 3][2:1]) + length_of([1, 2, 3][3:]))": "0.0",
    "scalar(string(1.5) + string(2))": "1.52",
    "1.0 if string(true) == 'true' && string(-3) == '-3' else 2.0": "1.0",
    "1.0 if logical('') || logical(0) || logical(0.0) else 2.0": "2.0",
    "1.0 if 1 < 2 && 1.5 >= 1.5 && 'a' != 'b' && true == true else 2.0": "1.0",
    "(1, 2.5)[1]": "2.5",
}
"""Compile-time expressions and their values (NNEF 1.0.5, 3.3.3)."""

FRAGMENTS = {
    "inlined": (
        ONE % "a = relu(x); b = a + 1.0; y = max(b, a) * a;",
        "y = f(x);",
        "y_a = relu(x);\ny_b = add(y_a, 1.0);\ny_max = max(y_b, y_a);\ny = mul(y_max, y_a);",
    ),
    "twice": (ONE % "a = exp(x); y = relu(a);", "z = f(x); y = f(z);", "z_a = exp(x);\nz = relu(z_a);\ny_a = exp(z);\ny = relu(y_a);"),
    "inside itself": (ONE % "y = exp(x);", "y = f(f(x) + f(x));", "y_f = exp(x);\ny_f_1 = exp(x);\ny_add = add(y_f, y_f_1);\ny = exp(y_add);"),
    "names taken": (ONE % "a = exp(x); y = relu(a);", "y_a = tanh(x); y = f(y_a);", "y_a = tanh(x);\ny_a_1 = exp(y_a);\ny = relu(y_a_1);"),
    "result in a body": (ONE % "y = exp(x);" + "fragment g(x: tensor<scalar>) -> (y: tensor<scalar>) { t = f(x); y = f(t) + t; }", "y = g(x);", "y_t = exp(x);\ny_f = exp(y_t);\ny = add(y_f, y_t);"),
    "identity": (ONE % "y = x;", "y = f(x);", "y = copy(x);"),
    "identity inside": (ONE % "y = x;", "y = relu(f(x));", "y = relu(x);"),
    "number": (ONE % "y = 1.5;", "y = f(x);", "y = constant(shape = [], value = [1.5]);"),
    "number inside": (ONE % "y = 1.5;", "y = x + f(x);", "y = add(x, 1.5);"),
    "defaults": (
        "fragment f(x: tensor<scalar>, k: tensor<scalar> = 2.0, axes: integer[] = [1, 0]) -> (y: tensor<scalar>) { y = transpose(x * k, axes = axes); }",
        "z = f(x); y = f(x, 3.0, axes = [0, 1]);",
        "z_mul = mul(x, 2.0);\nz = transpose(z_mul, axes = [1, 0]);\ny_mul = mul(x, 3.0);\ny = transpose(y_mul, axes = [0, 1]);",
    ),
    "several results": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>, z: tensor<scalar>[]) { y = exp(x); z = [x, relu(y)]; }",
        "y, [a, b] = f(x);",
        "y = exp(x);\nb = relu(y);\na = copy(x);",
    ),
    "array of results": (
        "fragment f(x: tensor<scalar>[]) -> (y: tensor<scalar>[]) { y = [for t in x yield relu(t)]; }",
        "[y, z] = f([x, -x]);",
        "y_neg = neg(x);\ny = relu(x);\nz = relu(y_neg);",
    ),
    "array inside": (
        "fragment f(x: tensor<scalar>[]) -> (y: tensor<scalar>[]) { y = [for t in x yield relu(t)]; }",
        "y = add_n(f([x, x]));",
        "y_f_0 = relu(x);\ny_f_1 = relu(x);\ny = add_n([y_f_0, y_f_1]);",
    ),
    "whole array": ("fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { c = copy_n(x, times = 2); y = c[0] + c[1]; }", "y = f(x);", "[y_c_0, y_c_1] = copy_n(x, times = 2);\ny = add(y_c_0, y_c_1);"),
    "recursion": (
        "fragment f(x: tensor<scalar>[]) -> (y: tensor<scalar>) { y = x[0] * f(x[1:]) if length_of(x) > 0 else 1.0; }",
        "y = f([x, relu(x)]);",
        "y_relu = relu(x);\ny_f = mul(y_relu, 1.0);\ny = mul(x, y_f);",
    ),
    "mutual recursion": (
        "fragment f(x: tensor<scalar>, n: integer) -> (y: tensor<scalar>) { y = g(exp(x), n = n - 1) if n > 0 else x; } "
        "fragment g(x: tensor<scalar>, n: integer) -> (y: tensor<scalar>) { y = f(tanh(x), n = n - 1) if n > 0 else x; }",
        "y = f(x, n = 3);",
        "y_exp = exp(x);\ny_tanh = tanh(y_exp);\ny_exp_1 = exp(y_tanh);\ny = copy(y_exp_1);",
    ),
    "generic by default": (
        "fragment f<? = scalar>(shape: integer[], value: ?) -> (y: tensor<?>) { y = constant<?>(shape = shape, value = [value]); }",
        "y = f(shape = [2], value = 1.5);",
        "y = constant(shape = [2], value = [1.5]);",
    ),
    "generic explicit": (
        "fragment f<? = scalar>(shape: integer[], value: ?) -> (y: tensor<?>) { y = constant<?>(shape = shape, value = [value]); }",
        "y = f<integer>(shape = [2], value = 1);",
        "y = constant<integer>(shape = [2], value = [1]);",
    ),
    "generic deduced": (
        "fragment f<?>(x: tensor<?>, c: tensor<logical>) -> (y: tensor<?>) { y = select(c, x, copy(x)); }",
        "c = x < 0.0; z = f(x, c); y = f(c, c);",
        "c = lt(x, 0.0);\nz_copy = copy(x);\nz = select(c, x, z_copy);\ny_copy = copy(c);\ny = select(c, c, y_copy);",
    ),
    "generic of arrays": (
        "fragment f<?>(x: tensor<?>[], k: (integer, ?)[] = []) -> (y: tensor<?>) { y = concat(x, axis = 0); }",
        "y = f([x, x]);",
        "y = concat([x, x], axis = 0);",
    ),
    "unbound": (
        "fragment f(x: tensor<>) -> (y: tensor<integer>) { y = cast<integer>(x); }",
        "y = f(x); z = f(true);",
        "y = cast<integer>(x);\nz = cast<integer>(true);",
    ),
    "shape of": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = reshape(x, shape = [for d in shape_of(x) yield d] + [1]); }",
        "y = f(x);",
        "y = reshape(x, shape = [1, 4, 1]);",
    ),
    "tuple": (
        "fragment f(x: tensor<scalar>, p: (integer, integer)[] = [(0, 0), (1, 2)]) -> (y: tensor<scalar>) { (a, b) = p[1]; y = pad(x, padding = [p[0], (b, a)]); }",
        "y = f(x);",
        "y = pad(x, padding = [(0, 0), (2, 1)]);",
    ),
}  # fmt: skip

TEXTS = {
    **{statements: document(statements) for statements in OPERATORS},
    **{f"value {e}": document(f"y = leaky_relu(x, alpha = {e});") for e in ALPHA},
    **{f"fragment {name}": document(statements, fragments) for name, (fragments, statements, _) in FRAGMENTS.items()},
}
"""All of them as whole documents."""

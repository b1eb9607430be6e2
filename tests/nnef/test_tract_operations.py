"""Operations of tract's dialect against NumPy, and where tract deviates from the standard."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tract_models import answers, external, model, read, text, variable

from nnefc.errors import UnsupportedError
from nnefc.formats.nnef import load

X = np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)
INTEGERS = np.array([[3, -4, 5], [0, 7, -1]])
Array = np.ndarray


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _erf(x: Array) -> Array:
    return np.vectorize(math.erf)(x)


ON_FLOATS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "erf": ("y = tract_core_erf(x);", _erf),
    "round_even": ("y = tract_core_round_even(x * 4.0 + 0.5);", lambda x: np.round(x * 4 + 0.5)),
    "round": ("y = round(x - x + 2.5);", lambda x: np.full_like(x, 3)),
    "round_negative": ("y = round(x - x - 2.5);", lambda x: np.full_like(x, -3)),
    "hard_swish": ("y = tract_core_hard_swish(x);", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "silu": ("y = tract_core_silu(x);", lambda x: x / (1 + np.exp(-x))),
    "gelu": (
        "y = tract_core_gelu_approx(x, fast_impl = false);",
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "fast_gelu": (
        "y = tract_transformers_gelu_approx(x, fast_impl = true);",
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2))),
    ),
    "rms_norm": (
        "y = tract_core_rms_norm(x, axis = 1, eps = 0.1);",
        lambda x: x / np.sqrt((x * x).mean(1, keepdims=True) + 0.1),
    ),
    "log_softmax": ("y = tract_core_log_softmax(x, axes = [1]);", lambda x: np.log(_softmax(x))),
    "softmax_by_position": ("y = softmax(x, 1);", _softmax),
    "product": ("y = tract_core_product_reduce(x, axes = [1]);", lambda x: x.prod(1, keepdims=True)),
    "cast": ("y = tract_core_cast(x * 3.0, to = 'i32');", lambda x: np.trunc(x * 3).astype(np.int32)),
    "cast_to_bool": ("y = tract_core_cast(max(x, 0.0), to = 'bool');", lambda x: x > 0),
    "is_inf": ("y = tract_core_is_inf(x / 0.0, detect_negative = false);", lambda x: x > 0),
    "is_nan": ("y = tract_core_is_nan(select(x > 0.0, nan, x));", lambda x: x > 0),
    "shape": ("y = tract_core_shape_of(x);", lambda x: np.array([2, 3])),
    "shape_in_attribute": (
        "s = tract_core_shape_of(x);\ny = reshape(x, shape = [s[1], s[0]]);",
        lambda x: x.reshape(3, 2),
    ),
    "shape_sliced": (
        "s = squeeze(slice(tract_core_shape_of(x), axes = [0], begin = [1], end = [2]), axes = [0]);\n"
        "y = reshape(x, shape = [s * 2]);",
        lambda x: x.reshape(6),
    ),
    "range": (
        "y = unsqueeze(tract_core_range(3, -3, -2), axes = [0]) * tract_core_cast(x * 9.0, to = 'i64');",
        lambda x: np.trunc(x * 9).astype(int) * np.array([3, 1, -1]),
    ),
    "einsum": ("y = tract_core_einsum([x, x], expr = 'ij,kj->ik', acc = 'f32', output = '');", lambda x: x @ x.T),
    "broadcast": ("y = tract_core_broadcast(x, shape = [2, 2, 3]);", lambda x: np.broadcast_to(x, (2, 2, 3))),
    "trilu": ("y = tract_core_trilu(x, k = 1, upper = true);", lambda x: np.triu(x, 1)),
    "topk": ("y, i = tract_core_topk(x, k = 2, axis = 1, largest = true);", lambda x: -np.sort(-x, 1)[:, :2]),
    "gather": ("y = tract_core_gather(x, [2, 0], axis = 1);", lambda x: x[:, [2, 0]]),
    "gather_from_the_end": ("y = tract_core_gather(x, [-1], axis = 1);", lambda x: x[:, -1:]),
    "gather_nd": ("y = tract_core_gather_nd(x, [[1, 2]], batch_dims = 0);", lambda x: x[1, 2].reshape(1)),
    "downsample": ("y = tract_core_downsample(x, axis = 1, stride = 2, modulo = 1);", lambda x: x[:, 1::2]),
    "backwards": ("y = tract_core_downsample(x, axis = 1, stride = -1);", lambda x: x[:, ::-1]),
    "slice_to_the_end": ("y = slice(x, axes = [1], begin = [-2], end = [0]);", lambda x: x[:, 1:]),
    "slice_beyond": ("y = slice(x, axes = [1], begin = [1], end = [99], stride = [2]);", lambda x: x[:, 1::2]),
    "slice_backwards": (
        "y = slice(x, axes = [1, 0], begin = [0, 0], end = [2, 0], stride = [-1, -1]);",
        lambda x: x[::-1, 1::-1],
    ),
    "pad_replicated": (
        "y = pad(x, padding = [(0, 0), (1, 2)], border = 'replicated');",
        lambda x: np.pad(x, ((0, 0), (1, 2)), "edge"),
    ),
    "pow_const": ("y = tract_core_pow_const(x, exponent = 2.0);", lambda x: x**2),
    "infinity": ("y = select(x > 0.0, x, -inf);", lambda x: np.where(x > 0, x, -np.inf)),
    "literal_array": ("k = [[2.0, 3.0, 4.0]];\ny = x * k;", lambda x: x * np.array([[2, 3, 4]], np.float32)),
    "stack_of_array": ("y = concat([[x], [x]], axis = 0);", lambda x: np.stack([x, x])),
    "mixed_array": (
        "s = tract_core_shape_of(x);\ny = unsqueeze([s[0], 2.5, s[1]], axes = [0]) * x;",
        lambda x: x * np.array([2, 2.5, 3], np.float32),
    ),
    "alias": ("y = x;", lambda x: x),
    "ignored_argument": ("y = sigmoid(x, axes = [1]);", lambda x: 1 / (1 + np.exp(-x))),
    "quoted_name": ('i"a.b" = relu(x);\ny = i"a.b" + 1;', lambda x: np.maximum(x, 0) + 1),
    "masked_softmax": (
        "m = x > -0.5;\ny = tract_transformers_scaled_masked_softmax(x, m, scale = 2.0);",
        lambda x: _softmax(np.where(x > -0.5, 2 * x, -np.inf)),
    ),
    "rope": (
        "a = concat([x, neg(x)], axis = 1);\ny = tract_transformers_apply_rope(a, [[0.5]], [[2.0]]);",
        lambda x: np.concatenate([x * 0.5 + x * 2, -x * 0.5 + x * 2], 1),
    ),
}


@pytest.mark.parametrize("name", ON_FLOATS)
def test_on_floats(name: str, tmp_path: Path) -> None:
    body, meaning = ON_FLOATS[name]
    (got,) = answers(read(tmp_path, text(external() + body)), {"x": X})
    wanted = np.asarray(meaning(X))
    assert got.shape == wanted.shape and got.dtype.kind == wanted.dtype.kind
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=1e-6)


ON_INTEGERS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "arithmetic": ("y = (x + 2) * 3 - x;", lambda x: (x + 2) * 3 - x),
    "fraction_dropped": ("y = x * 2.5;", lambda x: x * 2),
    "bits": ("y = tract_core_bitxor(tract_core_bitand(x, 6), tract_core_bitnot(x));", lambda x: (x & 6) ^ ~x),
    "shifts": ("y = tract_shr(tract_shl(x, 3), 1);", lambda x: (x << 3) >> 1),
    "floor": ("y = floor(x) + round(x);", lambda x: 2 * x),
    "one_hot": (
        "y = tract_core_one_hot(abs(x), axis = 2, dim = 8, value_on = 3.0);",
        lambda x: 3 * (np.abs(x)[..., None] == np.arange(8)).astype(np.float32),
    ),
    "with_floats": ("y = x + tract_core_cast(x, to = 'f32');", lambda x: (2 * x).astype(np.float32)),
    "xor": ("y = tract_core_xor(x > 0, x > 4);", lambda x: (x > 0) ^ (x > 4)),
}


@pytest.mark.parametrize("name", ON_INTEGERS)
def test_on_integers(name: str, tmp_path: Path) -> None:
    body, meaning = ON_INTEGERS[name]
    (got,) = answers(read(tmp_path, text(external(datum_type="i64") + body)), {"x": INTEGERS})
    wanted = meaning(INTEGERS)
    assert got.dtype == wanted.dtype and np.array_equal(got, wanted)


def test_scatter(tmp_path: Path) -> None:
    body = external("i", "2, 1", "i64") + external()
    body += "y = tract_core_scatter_elements(x, i, updates = [[5.0], [6.0]], axis = 1, reduction = 'add');"
    index = np.array([[2], [0]])
    (got,) = answers(read(tmp_path, text(body, inputs="x, i")), {"x": X, "i": index})
    wanted = X.copy()
    wanted[[0, 1], index[:, 0]] += [5, 6]
    np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize("groups", [1, 2])
def test_filters_of_deconvolution_are_out_in(tmp_path: Path, groups: int) -> None:
    draw = np.random.default_rng(5)
    x, w = draw.normal(size=(1, 4, 3)).astype("f4"), draw.normal(size=(6, 4 // groups, 2)).astype("f4")
    body = external(shape="1, 4, 3") + variable("w", w)
    body += f"y = deconv(x, w, 0.5, stride = [2], padding = [(0, 0)], groups = {groups}, output_shape = [7]);"
    (got,) = answers(read(tmp_path, text(body), w=w), {"x": x})
    wanted = np.full((1, 6, 7), 0.5)
    inner, outer = 4 // groups, 6 // groups
    for o in range(6):
        for i in range(inner):
            for t in range(3):
                wanted[0, o, 2 * t : 2 * t + 2] += x[0, o // outer * inner + i, t] * w[o, i]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_constant_border_never_wins(tmp_path: Path) -> None:
    body = external(shape="1, 1, 2, 2")
    body += "y = max_pool(x, size = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (1, 0), (1, 0)], border = 'constant');"
    x = np.array([[[[-4.0, -3], [-2, -1]]]], np.float32)
    (got,) = answers(read(tmp_path, text(body)), {"x": x})
    assert got.tolist() == [[[[-4, -3], [-2, -1]]]]


@pytest.mark.parametrize("bias", [(4,), (1, 4), (1, 4, 1), (4, 1), ()])
def test_bias_of_any_rank(tmp_path: Path, bias: tuple[int, ...]) -> None:
    draw = np.random.default_rng(6)
    x, w, b = (draw.normal(size=s).astype("f4") for s in ((1, 3, 5), (4, 3, 1), bias))
    body = external(shape="1, 3, 5") + variable("w", w) + variable("b", b) + "y = conv(x, w, b);"
    (got,) = answers(read(tmp_path, text(body), w=w, b=b), {"x": x})
    wanted = np.einsum("oik,nil->nol", w, x) + np.broadcast_to(b.reshape(-1), 4)[None, :, None]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_stored_scalars_and_integers(tmp_path: Path) -> None:
    eps, table = np.array(0.25, np.float32), np.array([2, 0], np.int64)
    body = external() + variable("eps", eps) + variable("table", table)
    body += "n = batch_normalization(x, 0.0, 1.0, 0.0, 1.0, epsilon = eps);\ny = tract_core_gather(n, table, axis = 1);"
    notes: list[str] = []
    graph = read(tmp_path, text(body), notes, eps=eps, table=table)
    np.testing.assert_allclose(answers(graph, {"x": X})[0], (X / np.sqrt(1.25))[:, [2, 0]], rtol=1e-6)
    assert any("epsilon of batch_normalization is a tensor; scalar is wanted" in note for note in notes)


SCAN = """
fragment step(piece: tensor<scalar>, weight: tensor<scalar>, before: tensor<scalar>)
-> (after: tensor<scalar>, twice: tensor<scalar>)
{
    after = tanh(piece + before * weight);
    twice = after * 2.0;
}
"""


@pytest.mark.parametrize("chunk", [1, -1])
def test_scan(tmp_path: Path, chunk: int) -> None:
    x = np.random.default_rng(8).normal(size=(1, 5, 2)).astype(np.float32)
    body = external(shape="1, 5, 2") + "zero = [[[0.0, 0.5]]];\n"
    body += f"""(y, last) = tract_core_scan(body = 'step', scan = [('piece', x, 1, {chunk})], full = [('weight', 0.75)],
        state = [('before', zero, 'after')], output = [('twice', 'full', 1, {chunk}), ('after', 'last', 1, 1)]);"""
    got = answers(read(tmp_path, text(body, outputs="y, last", fragments=SCAN)), {"x": x})
    state, rows = np.array([[[0.0, 0.5]]], np.float32), [None] * 5
    for turn in range(5)[::chunk]:
        state = np.tanh(x[:, turn : turn + 1] + state * np.float32(0.75))
        rows[turn] = 2 * state
    np.testing.assert_allclose(got[0], np.concatenate(rows, 1), rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(got[1], state, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", ["true", "false"])
def test_attention_with_shared_heads(tmp_path: Path, causal: str) -> None:
    draw = np.random.default_rng(9)
    q, k, v = (draw.normal(size=(1, h, 4, 6)).astype(np.float32) for h in (4, 2, 2))
    body = external("q", "1, 4, 4, 6") + external("k", "1, 2, 4, 6") + external("v", "1, 2, 4, 6")
    body += f"""y = tract_transformers_sdpa(q, k, v, datum_type = 'f32', acc_datum_type = 'f32', scale = 0.5,
        is_causal = {causal});"""
    document = text(body, inputs="q, k, v", head="extension tract_registry tract_transformers;\n")
    (got,) = answers(read(tmp_path, document), {"q": q, "k": k, "v": v})
    scores = np.einsum("bhij,bhkj->bhik", q, k.repeat(2, 1)) * 0.5
    if causal == "true":
        scores = np.where(np.tril(np.ones((4, 4), bool)), scores, -np.inf)
    np.testing.assert_allclose(got, _softmax(scores) @ v.repeat(2, 1), rtol=1e-5, atol=1e-6)


def test_quantized_tensors_carry_their_encodings(tmp_path: Path) -> None:
    quant = (
        '"y": zero_point_linear_quantize(zero_point = 0, scale = 0.5, bits = 8, signed = true, symmetric = false);\n'
    )
    graph = load(model(tmp_path, text(external() + "y = tract_core_cast(relu(x));"), quant))
    encoding = graph.outputs[0].type.encoding
    assert encoding is not None and dict(encoding.parameters)["scale"] == 0.5


def test_an_operation_that_is_missing(tmp_path: Path) -> None:
    body = external() + "y = tract_core_stft(x, axis = 1, frame = 2, stride = 1);"
    with pytest.raises(UnsupportedError, match="tract's operation 'tract_core_stft' is not supported") as caught:
        read(tmp_path, text(body))
    assert (caught.value.line, caught.value.column) == (9, 5)

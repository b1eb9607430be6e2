"""From a network and data to a network with encodings, which is written, read and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import network, samples

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.errors import InvalidModelError
from nnefc.ops.evaluate import variable_values
from nnefc.passes import pipeline
from nnefc.quant import Calibration, RecipeError, calibrate, prepare, quantize, quantized, recipe_of, setting_of

BODY = """x = external[1, 3, 9, 9];
w1 = variable[8, 3, 3, 3]; b1 = variable[1, 8]; c1 = conv(x, w1, b1); r1 = relu(c1);
w2 = variable[8, 1, 3, 3]; c2 = conv(r1, w2, groups = 8); r2 = relu(c2);
f = reshape(r2, shape = [1, 648]);
w3 = variable[648, 5]; y = matmul(f, w3);
"""
NET = network(BODY)
DATA = samples(NET, 5)


def test_encodings_are_those_of_the_scheme() -> None:
    made = quantize(NET, DATA, method="minmax")
    types = {name: v.type for name, v in made.values.items()}
    coded = {name for name, t in types.items() if t.encoding is not None}
    assert coded == {"x", "r1", "r2", "f", "w1", "w2", "w3"}
    for name in ("x", "r1", "r2"):
        encoding = types[name].encoding
        assert (encoding["bits"], encoding["signed"], encoding["symmetric"]) == (8, False, False)
    assert types["r1"].encoding["zero_point"] == 0
    assert types["r2"].encoding == types["f"].encoding
    assert np.shape(types["w1"].encoding["scale"]) == (8,)
    assert np.shape(types["w3"].encoding["scale"]) == (1, 5)
    assert all(made.tensors[w].item == "qint" and np.abs(made.tensors[w].data).max() == 127 for w in ("w1", "w2", "w3"))


def test_ranges_hold_all_values_and_codes_all_weights() -> None:
    prepared = prepare(NET)
    result = quantized(prepared, recipe_of(setting_of({"method": "minmax"})), data=DATA)
    rows = {row.name: row for row in result.tensors}
    every = np.concatenate([d["x"].ravel() for d in DATA])
    assert rows["x"].observed == (every.min(), every.max())
    assert rows["x"].range == rows["x"].observed
    for name in ("w1", "w2", "w3"):
        before, after = (variable_values(g, g.producers[name]) for g in (prepared, result.graph))
        scale = np.asarray(rows[name].encoding["scale"])
        scale = scale.reshape(scale.shape + (1,) * (before.ndim - scale.ndim))
        assert (np.abs(before - after) <= scale * 0.5001).all()


@pytest.mark.parametrize("name", ["net.nnef.tgz", "net.nnef", "net.zip"])
@pytest.mark.parametrize("scheme", ["int8", "int4w", "log4w", "fp16", "int16"])
def test_what_is_written_is_read_and_valid(scheme: str, name: str, tmp_path: Path) -> None:
    made = quantize(NET, DATA, scheme=scheme)
    nnefc.save(made, tmp_path / name)
    again = nnefc.load(tmp_path / name)
    assert {n: v.type for n, v in again.values.items()} == {n: v.type for n, v in made.values.items()}
    assert dict(again.tensors) == dict(made.tensors)
    x = DATA[0]
    assert np.array_equal(nnefc.evaluate(again, x)["y"], nnefc.evaluate(made, x)["y"])


def test_four_bits_take_half_the_room(tmp_path: Path) -> None:
    sizes = {}
    for scheme in ("int8", "int4w", "fp16", "float"):
        nnefc.save(quantize(NET, DATA, scheme=scheme), tmp_path / scheme)
        sizes[scheme] = (tmp_path / scheme / "w3.dat").stat().st_size - 128
    assert sizes == {"int8": 648 * 5, "int4w": 648 * 5 // 2, "fp16": 648 * 10, "float": 648 * 20}


def test_per_tensor_weights_have_one_scale() -> None:
    made = quantize(NET, DATA, per_channel=False)
    assert all(np.shape(made.values[w].type.encoding["scale"]) == () for w in ("w1", "w2", "w3"))


@pytest.mark.parametrize(
    ("chosen", "coded"),
    [
        ({"exclude": ["c1"]}, {"w2", "w3"}),
        ({"exclude": ["conv"]}, {"w3"}),
        ({"exclude": ["c*"]}, {"w3"}),
        ({"exclude": ["x"]}, {"w2", "w3"}),
        ({"exclude": ["w2"]}, {"w1", "w3"}),
        ({"only": ["matmul"]}, {"w3"}),
        ({"only": ["c?"], "exclude": ["c2"]}, {"w1"}),
    ],
)
def test_exclude_and_only(chosen: dict, coded: set[str]) -> None:
    made = quantize(NET, DATA, **chosen)
    assert {w for w in ("w1", "w2", "w3") if made.values[w].type.encoding is not None} == coded


def test_channels_of_zeros_and_constant_tensors() -> None:
    graph = network("x = external[1, 2, 3, 3]; w = variable[3, 2, 1, 1]; y = conv(x, w);")
    weights = np.array(graph.tensors["w"].data)
    weights[1] = 0
    graph = graph.replace(tensors={"w": nnefc.formats.nnef.tensor.tensor_of(weights)})
    for value in (0.0, 2.5, -2.5):
        x = {"x": np.full((1, 2, 3, 3), value, np.float32)}
        made = quantize(graph, [x])
        encoding = made.values["x"].type.encoding
        code = np.clip(np.floor(value / encoding["scale"] + 0.5) + encoding["zero_point"], 0, 255)
        assert (code - encoding["zero_point"]) * encoding["scale"] == pytest.approx(value)
        assert not nnefc.evaluate(made, x)["y"][0, 1].any()


def test_a_calibration_is_kept_merged_and_used_again(tmp_path: Path) -> None:
    prepared = prepare(NET)
    whole, first, second = (calibrate(prepared, d) for d in (DATA, DATA[:2], DATA[2:]))
    first.save(tmp_path / "a.json")
    second.save(tmp_path / "b.json")
    merged = Calibration.load(tmp_path / "a.json").merged(Calibration.load(tmp_path / "b.json"))
    assert merged.calls == whole.calls == 5
    assert all(merged.tensors[n].histogram == s.histogram for n, s in whole.tensors.items())
    for method in ("minmax", "moving-average"):
        one, other = quantize(NET, DATA, method=method), quantize(NET, calibration=merged, method=method)
        assert one.values["x"].type.encoding == other.values["x"].type.encoding
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.json", "b.json"]


def test_calibrations_of_other_models_are_refused(tmp_path: Path) -> None:
    made = calibrate(prepare(NET), DATA)
    other = network(BODY, seed=9)
    with pytest.raises(InvalidModelError, match="the calibration is of another model"):
        quantize(other, calibration=made)
    with pytest.raises(InvalidModelError, match="different models cannot be merged"):
        made.merged(calibrate(prepare(other), DATA))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no calibration file"),
        ("[]", "it does not say that it is 'nnefc calibration 1'"),
        ('{"format": "nnefc calibration 1", "model": "m", "calls": 1}', "damaged"),
        ('{"format": "nnefc calibration 1", "model": "m", "calls": 1, "tensors": {"x": {"counts": [-1]}}}', "damaged"),
    ],
)
def test_damaged_calibrations_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InvalidModelError, match=message):
        Calibration.load(path)


def test_what_is_observed_must_be_finite() -> None:
    graph = network("x = external[1, 2]; w = variable[2, 2]; e = exp(x); f = exp(e); y = linear(f, w);")
    with pytest.raises(InvalidModelError, match="the tensor 'f' holds NaN or an infinity after call 2 of the model"):
        quantize(graph, [np.zeros((1, 2), np.float32), np.full((1, 2), 80, np.float32)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scheme": "int9"}, "scheme: there is no 'int9'; there are int8, int4w"),
        ({"method": "magic"}, "method: there is no 'magic'; there are minmax"),
        ({"bits": 1}, "bits: 1 is no whole number from 2 to 16"),
        ({"bits": 17}, "bits: 17 is no whole number from 2 to 16"),
        ({"weight_bits": "8"}, "weight_bits: '8' is no whole number"),
        ({"percentile": 20}, "percentile: 20 is no number above 50"),
        ({"per_channel": 1}, "per_channel: 1 is neither true nor false"),
        ({"scheme": "fp16", "bits": 4}, "bits: the scheme codes no activations"),
        ({"exclude": ["convv"]}, "there is no operation or input that fits 'convv'; did you mean 'conv'"),
        ({"only": ["zzz"]}, "there is no operation or input that fits 'zzz'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        quantize(NET, DATA, **settings)


def test_without_data_there_are_no_ranges() -> None:
    with pytest.raises(InvalidModelError, match="there is neither data nor a calibration"):
        quantize(NET)
    assert quantize(NET, scheme="fp16").tensors["w1"].bits == 16


ATTENTION = """x = external[20, 24];
wq = variable[24, 24]; wk = variable[24, 24]; wv = variable[24, 24]; wo = variable[24, 24];
q = matmul(x, wq); k = matmul(x, wk); v = matmul(x, wv);
qr = reshape(q, shape = [1, 20, 3, 8]); kr = reshape(k, shape = [1, 20, 3, 8]);
vr = reshape(v, shape = [1, 20, 3, 8]);
qt = transpose(qr, axes = [0, 2, 1, 3]); kt = transpose(kr, axes = [0, 2, 3, 1]);
vt = transpose(vr, axes = [0, 2, 1, 3]);
qs = mul(qt, 0.02); a = matmul(qs, kt); s = softmax(a, axes = [3]); b = matmul(s, vt);
bt = transpose(b, axes = [0, 2, 1, 3]); br = reshape(bt, shape = [20, 24]); y = matmul(br, wo);
"""


def test_attention_runs_on_integers() -> None:
    graph = network(ATTENTION)
    data = samples(graph, 6)
    made = quantize(graph, data)
    notes: list[str] = []
    execution = execution_of(pipeline.run(made, notes=notes))
    assert execution.share == 1 and not notes
    assert execution.islands == ("s", "b"), "the softmax, and what divides by its sums"
    for name in ("k", "v"):
        encoding = made.values[name].type.encoding
        assert (encoding["zero_point"], encoding["signed"], encoding["symmetric"]) == (0, True, True)
    assert made.values["s_numerator"].type.encoding["zero_point"] == 0
    model = nnefc.compile(made, threads=1)
    for sample in samples(graph, 3, seed=2):
        wanted = nnefc.evaluate(graph, sample)["y"]
        codes = nnefc.evaluate(made, sample, execution="integer")["y"]
        assert snr(wanted, codes) > 20
        # The softmax is computed by polynomials of our own: its codes may differ by one.
        assert snr(codes, model(**sample)) > 45


def snr(wanted: np.ndarray, got: np.ndarray) -> float:
    """In dB."""
    return float(10 * np.log10(np.square(wanted).sum() / max(np.square(wanted - got).sum(), 1e-30)))

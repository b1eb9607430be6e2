"""``nnefc convert``, ``inspect`` and ``compare``: what they print and write, their exit codes and their errors."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from bad_files import DATA, folder, header
from harness import Reply

import nnefc
from nnefc.formats.nnef.tensor import tensor_of, write_tensor

NET = """version 1.0;
graph Net(x) -> (y)
{
    x = external(shape = [1, 2, 6, 6]);
    w = variable(shape = [4, 2, 3, 3], label = 'w');
    c = conv(x, w, 0.5, padding = [(1, 1), (1, 1)]);
    r = relu(c);
    p = max_pool(r, size = [1, 1, 2, 2], stride = [1, 1, 2, 2], padding = [(0, 0), (0, 0), (0, 0), (0, 0)]);
    y = softmax(p);
}
"""
RNG = np.random.default_rng(3)


def build(folder_: Path, text: str = NET, factor: float = 1.0) -> Path:
    """The network in a folder, its weights scaled."""
    folder_.mkdir()
    (folder_ / "graph.nnef").write_text(text)
    weights = np.random.default_rng(1).standard_normal((4, 2, 3, 3)).astype(np.float32) * np.float32(factor)
    (folder_ / "w.dat").write_bytes(write_tensor(tensor_of(weights)))
    return folder_


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nets") / "net")


def refused(reply: Reply, code: int, *fragments: str) -> None:
    assert reply.code == code, (reply.code, reply.out, reply.err)
    assert "error: " in reply.err and "Traceback" not in reply.err
    for fragment in fragments:
        assert fragment in reply.err


class TestConvert:
    def test_to_onnx_and_back(self, guarded, model: Path, tmp_path: Path) -> None:
        reply = guarded("convert", model, tmp_path / "net.onnx")
        assert (reply.code, reply.err) == (0, "")
        assert reply.out == f"{tmp_path}/net.onnx: ONNX, opset 26, 5 operations\n"
        onnx.checker.check_model(onnx.load(tmp_path / "net.onnx"), full_check=True)
        reply = guarded("convert", tmp_path / "net.onnx", tmp_path / "back.nnef.tgz", "--json")
        assert reply.code == 0
        record = reply.json()
        assert record["plain"] and record["format"] == "nnef" and not record["beyond"]
        x = RNG.standard_normal((1, 2, 6, 6)).astype(np.float32)
        wanted = nnefc.evaluate(nnefc.load(model), {"x": x})["y"]
        np.testing.assert_allclose(nnefc.evaluate(nnefc.load(tmp_path / "back.nnef.tgz"), {"x": x})["y"], wanted, 1e-6)

    @pytest.mark.parametrize("name", ["a.nnef.tgz", "a.tar", "a.zip", "a.tar.gz", "a", "a.nnef"])
    def test_between_containers(self, guarded, model: Path, tmp_path: Path, name: str) -> None:
        reply = guarded("convert", model, tmp_path / name)
        assert reply.out == f"{tmp_path / name}: plain Khronos NNEF, 5 operations\n"
        assert nnefc.load(tmp_path / name, strict=True) == nnefc.load(model)

    def test_what_is_beyond_the_standard_is_named(self, guarded, tmp_path: Path) -> None:
        graph = tmp_path / "graph.nnef"
        graph.write_text(
            "version 1.0;\nextension NNEFC_operations;\ngraph G(x) -> (y) { x = external(shape = [4]); y = erf(x); }\n"
        )
        reply = guarded("convert", graph, tmp_path / "out")
        assert reply.code == 0
        assert "NNEF with NNEFC_operations, 1 operation\n" in reply.out
        assert "not plain Khronos NNEF because of: erf" in reply.out

    def test_plain_where_operations_are_made_of_plain_ones(self, guarded, tmp_path: Path) -> None:
        """Bodies of bodies too; what has no body stays, and is named."""
        graph = tmp_path / "graph.nnef"
        lines = [
            "a = hard_swish(x);",
            "b = maximum(a, 0.25);",
            "c = layer_normalization(b, s, o, axes = [1], epsilon = 0.1);",
        ]
        text = "version 1.0;\nextension NNEFC_operations;\ngraph G(x, s, o) -> (c, b)\n{{\n    {}\n}}\n"
        externals = [f"{n} = external(shape = [{d}, 4]);" for n, d in (("x", 3), ("s", 1), ("o", 1))]
        graph.write_text(text.format("\n    ".join([*externals, *lines])))
        reply = guarded("convert", graph, tmp_path / "out", "--plain", "--json")
        assert reply.code == 0 and reply.json()["plain"], reply.err
        made, source = nnefc.load(tmp_path / "out", strict=True), nnefc.load(graph)
        assert [v.name for v in made.outputs] == ["c", "b"]
        x = np.array([[-4, -1, 0.5, np.nan], [1, 2, 3, 4], [9, 0, -9, 3]], np.float32)
        inputs = {"x": x, "s": RNG.standard_normal((1, 4)).astype(np.float32), "o": np.ones((1, 4), np.float32)}
        for ours, wanted in zip(
            nnefc.evaluate(made, inputs).values(), nnefc.evaluate(source, inputs).values(), strict=True
        ):
            np.testing.assert_allclose(ours, wanted, 1e-5, 1e-6)
        graph.write_text(graph.read_text().replace("hard_swish", "gelu_erf"))
        reply = guarded("convert", graph, tmp_path / "rest", "--plain", "--json")
        assert (reply.json()["plain"], reply.json()["beyond"]) == (False, ["erf"])
        refused(guarded("convert", graph, tmp_path / "a.onnx", "--plain"), 2, "--plain is for NNEF")

    def test_shapes(self, guarded, model: Path, tmp_path: Path) -> None:
        assert guarded("convert", model, tmp_path / "net.onnx", "--shape", "x=3,2,8,8").code == 0
        (info,) = onnx.load(tmp_path / "net.onnx").graph.input
        assert [d.dim_value for d in info.type.tensor_type.shape.dim] == [3, 2, 8, 8]

    def test_a_format_that_the_name_does_not_tell(self, guarded, model: Path, tmp_path: Path) -> None:
        refused(guarded("convert", model, tmp_path / "net.pb"), 2, "does not tell a format", "--to")
        reply = guarded("convert", model, tmp_path / "net.pb", "--to", "onnx", "--opset", "21")
        assert reply.code == 0 and "opset 21" in reply.out
        assert onnx.load(tmp_path / "net.pb").opset_import[0].version == 21

    def test_errors(self, guarded, model: Path, tmp_path: Path) -> None:
        newest = onnx.defs.onnx_opset_version()
        refused(guarded("convert", model, tmp_path / "a.onnx", "--opset", "7"), 2, f"21 to {newest}")
        refused(guarded("convert", model, tmp_path / "a.nnef", "--opset", "21"), 2, "--opset is for ONNX")
        refused(guarded("convert", tmp_path / "missing", tmp_path / "a.onnx"), 3, "missing")
        refused(guarded("convert", model, tmp_path / "no" / "a.onnx"), 4, "No such file")
        refused(guarded("convert", model, tmp_path / "a.onnx", "--shape", "z=1"), 3, "'z'")
        assert list(tmp_path.iterdir()) == []

    def test_a_bare_graph_has_no_values_to_write(self, guarded, tmp_path: Path) -> None:
        (tmp_path / "graph.nnef").write_text(NET)
        refused(guarded("convert", tmp_path / "graph.nnef", tmp_path / "a.onnx"), 3, "'w' has no stored values")

    def test_from_python(self, model: Path, tmp_path: Path) -> None:
        made = nnefc.convert(nnefc.load(model), tmp_path / "a.onnx")
        assert (made.format, made.opset, made.operations, made.plain) == ("onnx", 26, 5, False)
        assert nnefc.convert(model, tmp_path / "b.zip").plain
        for bad in ({"to": "caffe"}, {"opset": 3}, {"opset": 21, "to": "nnef"}):
            with pytest.raises(ValueError):
                nnefc.convert(model, tmp_path / "c.onnx", **bad)
        with pytest.raises(ValueError, match="read from a file"):
            nnefc.convert(nnefc.load(model), tmp_path / "c.onnx", shapes={"x": (2, 2, 6, 6)})


class TestInspect:
    def test_record(self, guarded, model: Path) -> None:
        record = guarded("inspect", model, "--json").json()
        assert record["operations"] == {"conv": 1, "relu": 1, "max_pool": 1, "softmax": 1}
        assert (record["parameters"], record["parameter_bytes"]) == (72, 288)
        assert record["macs"] == 4 * 36 * 2 * 9
        memory = record["activations"]
        assert memory["sum"] == 4 * (4 * 36 * 2 + 4 * 9 * 2)
        assert 0 < memory["live"] <= memory["arena"] <= memory["sum"] + 4096
        assert record["plain"] and record["format"] == "nnef" and record["tensors"] == {"f32": 4}
        assert record == nnefc.inspect(model)

    def test_text(self, guarded, model: Path) -> None:
        reply = guarded("inspect", model)
        assert reply.code == 0
        for words in ("x: f32[1,2,6,6]", "72 (288 bytes)", "2,592", "f32 x 4", "plain Khronos NNEF", "conv       1"):
            assert words in reply.out

    def test_onnx(self, guarded, tmp_path: Path) -> None:
        helper = onnx.helper
        float_ = onnx.TensorProto.FLOAT
        node = helper.make_node("Relu", ["x"], ["y"])
        ends = [helper.make_tensor_value_info(n, float_, ["batch", 3]) for n in "xy"]
        proto = helper.make_model(
            helper.make_graph([node], "g", ends[:1], ends[1:]),
            opset_imports=[helper.make_opsetid("", 20)],
            producer_name="me",
        )
        onnx.save(proto, tmp_path / "m.onnx")
        record = guarded("inspect", tmp_path / "m.onnx", "--json").json()
        assert record["free_dimensions"] == {"x": {"0": "batch"}}
        assert (record["opset"], record["producer"], record["format"]) == ({"ai.onnx": 20}, "me", "onnx")
        assert record["inputs"] == [{"name": "x", "dtype": "f32", "shape": [1, 3]}]
        assert "dimension 0 (batch)" in guarded("inspect", tmp_path / "m.onnx").out

    def test_onnx_that_leaves_extents_open(self, guarded, tmp_path: Path) -> None:
        helper, kinds = onnx.helper, onnx.TensorProto
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
        x = helper.make_tensor_value_info("x", kinds.FLOAT, ["batch", "length", 3])
        y = helper.make_tensor_value_info("y", kinds.FLOAT, None)
        w = onnx.numpy_helper.from_array(np.ones((3, 5), np.float32), "w")
        proto = helper.make_model(
            helper.make_graph(nodes, "g", [x], [y], [w]), opset_imports=[helper.make_opsetid("", 20)]
        )
        onnx.save(proto, tmp_path / "m.onnx")
        reply = guarded("inspect", tmp_path / "m.onnx", "--json")
        record = reply.json()
        assert reply.code == 0 and record == nnefc.inspect(tmp_path / "m.onnx")
        assert record["inputs"] == [{"name": "x", "dtype": "f32", "shape": ["batch", "length", 3]}]
        assert record["outputs"] == [{"name": "y", "dtype": "f32", "shape": None}]
        assert record["operations"] == {"MatMul": 1, "Relu": 1}
        assert (record["parameters"], record["parameter_bytes"], record["macs"]) == (15, 60, None)
        assert record["free_dimensions"] == {"x": {"0": "batch", "1": "length"}}
        assert "dimension 1 of 'x' ('length')" in record["notes"][-1] and "--shape" in record["notes"][-1]
        reply = guarded("inspect", tmp_path / "m.onnx")
        assert reply.code == 0 and "multiplications  not known" in reply.out and "x: f32[batch,length,3]" in reply.out
        known = guarded("inspect", tmp_path / "m.onnx", "--shape", "batch=2", "--shape", "length=7", "--json").json()
        assert known.keys() == record.keys() and known["macs"] == 2 * 7 * 15

    def test_symbols_of_tract(self, guarded, tmp_path: Path) -> None:
        text = """version 1.0;
extension tract_registry tract_core;
extension tract_symbol S;
graph net(x) -> (y)
{
    x = tract_core_external(shape = [1, S, 4], datum_type = 'f32');
    y = tract_core_softmax(x, axes = [2], exp = 'libc');
}
"""
        (tmp_path / "graph.nnef").write_text(text)
        record = guarded("inspect", tmp_path / "graph.nnef", "--shape", "S=9", "--json").json()
        assert record["free_dimensions"] == {"x": {"1": "S"}} and record["inputs"][0]["shape"] == [1, 9, 4]
        refused(guarded("inspect", tmp_path / "graph.nnef"), 4, "dimension 1 of 'x' ('S')")

    def test_a_bare_graph(self, guarded, tmp_path: Path) -> None:
        (tmp_path / "graph.nnef").write_text(NET)
        record = guarded("inspect", tmp_path / "graph.nnef", "--json").json()
        assert (record["parameters"], record["macs"]) == (0, 2592)

    def test_products_count_alike(self, tmp_path: Path) -> None:
        """Grouped and depth-wise convolutions, deconvolutions, matrix products."""
        text = """version 1.0;
graph G(x, m) -> (d, t, z)
{
    x = external(shape = [2, 4, 5, 5]);
    m = external(shape = [3, 7]);
    k = variable(shape = [4, 1, 3, 3], label = 'k');
    v = variable(shape = [4, 3, 2, 2], label = 'v');
    f = variable(shape = [6, 7], label = 'f');
    d = conv(x, k, groups = 0, padding = [(0, 0), (0, 0)]);
    t = deconv(x, v, stride = [2, 2], padding = [(0, 0), (0, 0)]);
    z = linear(m, f);
}
"""
        (tmp_path / "graph.nnef").write_text(text)
        depthwise, transposed, product = 2 * 4 * 9 * 9, 2 * 4 * 25 * 3 * 4, 3 * 6 * 7
        assert nnefc.inspect(tmp_path / "graph.nnef")["macs"] == depthwise + transposed + product

    def test_quantization(self, guarded, tmp_path: Path) -> None:
        path = build(tmp_path / "net")
        (path / "graph.quant").write_text('"r": linear_quantize(min = 0.0, max = 6.0, bits = 8);\n')
        record = guarded("inspect", path, "--json").json()
        assert record["quantization"] == {"linear_quantize of 8 bits": 1}

    def test_errors(self, guarded, tmp_path: Path) -> None:
        refused(guarded("inspect", tmp_path / "missing.onnx"), 3, "missing.onnx")
        refused(guarded("inspect", tmp_path), 3)


class TestCompare:
    def test_with_the_reference(self, guarded, model: Path) -> None:
        reply = guarded("compare", model, "reference", "--json")
        record = reply.json()
        assert (reply.code, record["equal"], record["first_divergence"], record["unmatched"]) == (0, True, None, 0)
        assert [d["name"] for d in record["outputs"]] == ["y"]
        assert [d["name"] for d in record["layers"]] == ["c", "r", "p"]
        assert all(d["max_rel"] < 1e-5 and d["snr"] == "inf" or d["snr"] > 100 for d in record["layers"])

    def test_with_onnx_runtime(self, cli, model: Path) -> None:
        reply = cli("compare", model, "ort")
        assert reply.code == 0, reply.err
        assert "the outputs are equal within 0.0001" in reply.out
        assert [line.split()[0] for line in reply.out.splitlines() if " float32 " in line] == ["y", "c", "r", "p"]

    def test_an_onnx_file_with_onnx_runtime(self, cli, model: Path, tmp_path: Path) -> None:
        assert cli("convert", model, tmp_path / "net.onnx").code == 0
        reply = cli("compare", tmp_path / "net.onnx", "ort", "--json")
        assert reply.code == 0, reply.err
        assert [d["name"] for d in reply.json()["layers"]] == ["c", "r", "p"]

    def test_the_first_divergence(self, guarded, model: Path, tmp_path: Path) -> None:
        """Other weights: everything from the convolution on differs."""
        other = build(tmp_path / "other", factor=1.01)
        reply = guarded("compare", model, other)
        assert reply.code == 1
        assert "the first divergence is at 'c'" in reply.out and "NOT equal" in reply.out
        reply = guarded("compare", model, other, "--tolerance", "0.5", "--outputs-only")
        assert reply.code == 0 and "layers" not in reply.out
        late = build(tmp_path / "late", NET.replace("softmax(p)", "softmax(p, axes = [2])"))
        reply = guarded("compare", model, late, "--json")
        assert (reply.code, reply.json()["first_divergence"]) == (1, "y")
        assert all(d["equal"] for d in reply.json()["layers"])

    def test_given_inputs(self, guarded, model: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.zeros((1, 2, 6, 6), np.float32))
        given = ("--input", f"x={tmp_path}/x.npy")
        record = guarded("compare", model, "reference", *given, "--json").json()
        assert record["layers"][0]["max_abs"] == 0.0
        np.save(tmp_path / "y.npy", np.zeros((1, 2, 5, 6), np.float32))
        refused(guarded("compare", model, "reference", "--input", f"x={tmp_path}/y.npy"), 3, "the model takes")
        refused(guarded("compare", model, "reference", "--input", "z=z.npy"), 2, "no input 'z'")
        refused(guarded("compare", model, "reference", *("--input", "x=x.npy") * 2), 2, "--input gives 'x' twice")

    def test_random_inputs_follow_the_seed(self, model: Path) -> None:
        first, again, other = (nnefc.compare(model, "reference", seed=s).layers[0].max_abs for s in (1, 1, 2))
        assert first == again != other

    def test_models_that_do_not_fit(self, guarded, model: Path, tmp_path: Path) -> None:
        linear = folder(header() + DATA)(tmp_path)
        refused(guarded("compare", model, linear), 3, "the input 'x' is f32[1,2,6,6] in one model")
        other = build(tmp_path / "two", NET.replace("-> (y)", "-> (y, r)"))
        refused(guarded("compare", model, other), 3, "1 and 2 outputs")
        shaped = build(tmp_path / "shaped", NET.replace("y = softmax(p)", "y = reshape(p, shape = [4, 9])"))
        reply = guarded("compare", model, shaped)
        assert reply.code == 1 and "shapes [1, 4, 3, 3] and [4, 9]" in reply.out

    def test_errors(self, guarded, model: Path, tmp_path: Path) -> None:
        refused(guarded("compare", model, tmp_path / "missing"), 3, "missing")
        refused(guarded("compare", model, "reference", "--random", "-1"), 2, "negative")
        refused(guarded("compare", model, "reference", "--tolerance", "nan"), 2, "negative")

    def test_measures(self) -> None:
        from nnefc.tools.compare import difference

        a, b = np.array([1, 2, math.nan, math.inf]), np.array([1, 2.5, math.nan, math.inf])
        d = difference("a", "b", a, b, 0.1)
        assert (d.max_abs, d.max_rel, d.equal) == (0.5, 0.2, False)
        assert d.snr == pytest.approx(10 * math.log10((1 + 2.5**2) / 0.25))
        assert d.cosine == pytest.approx((1 + 5) / math.sqrt(5 * 7.25))
        d = difference("a", "b", a, np.array([1, 2, 3, math.inf]), 0.1)
        assert (d.max_abs, d.snr, d.equal) == (math.inf, -math.inf, False)
        d = difference("a", "b", np.array([1, 2]), np.array([1, 3]), 1.0)
        assert not d.equal and d.max_abs == 1
        d = difference("a", "b", np.zeros(3), np.zeros(3), 0.0)
        assert (d.equal, d.cosine, d.snr, d.max_rel) == (True, 1.0, math.inf, 0.0)

    def test_without_onnx_runtime(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(nnefc.UnsupportedError, match="pip install onnxruntime"):
            nnefc.compare(model, "ort")

    def test_inputs_from_python(self, model: Path) -> None:
        x = np.zeros((1, 2, 6, 6), np.float32)
        assert nnefc.compare(nnefc.load(model), "reference", {"x": x}).layers[0].max_abs == 0
        with pytest.raises(ValueError, match="no input 'z'"):
            nnefc.compare(model, "reference", {"z": x})
        with pytest.raises(ValueError, match="shape"):
            nnefc.compare(model, "reference", {"x": x[0]})
        with pytest.raises(TypeError, match="float64"):
            nnefc.compare(model, "reference", {"x": x.astype(np.float64)})

    def test_an_index_out_of_range_is_the_input_s_fault(self, guarded, tmp_path: Path) -> None:
        text = "version 1.0;\ngraph G(x, i) -> (y) {{ x = external(shape = [3]); {} y = gather(x, i); }}\n"
        (tmp_path / "graph.nnef").write_text(text.format("i = external<integer>(shape = [1]);"))
        np.savez(tmp_path / "io.npz", x=np.ones(3, np.float32), i=np.array([7]))
        reply = guarded("compare", tmp_path / "graph.nnef", "reference", "--input", tmp_path / "io.npz")
        refused(reply, 3, "cannot work on these inputs")

"""Operations that exporters spell out are recognised, and what only resembles them is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import ort_answers
import pytest
from models import info, model, node

from nnefc.formats.onnx import load
from nnefc.ops.evaluate import evaluate

ROW = np.linspace(0.5, 1.5, 6).astype(np.float32)


def numbers(**values: float) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.float32) for name, value in values.items()}


def steps(text: str) -> list[onnx.NodeProto]:
    """Nodes written ``name = Op(inputs)``, one per line."""
    nodes = []
    for line in text.strip().split("\n"):
        name, call = line.strip().split(" = ")
        op, inputs = call.rstrip(")").split("(")
        attrs = {"axes": [-1]} if op == "ReduceMean" else {}
        nodes.append(node(op, inputs.split(", "), [name], **attrs))
    return nodes


SILU = "s = Sigmoid(x)\ny = Mul(s, x)"
SCALED = "t = Mul(x, c)\ns = Sigmoid(t)\ny = Mul(x, s)"
MISH = "p = Softplus(x)\nt = Tanh(p)\ny = Mul(x, t)"
GELU_AFTER = "u = Div(x, r)\ne = Erf(u)\nt = Add(e, one)\nm = Mul(x, t)\ny = Mul(m, half)"
GELU_BEFORE = "h = Mul(half, x)\nu = Mul(x, q)\ne = Erf(u)\nt = Add(one, e)\ny = Mul(h, t)"
NORM = """m = ReduceMean(x)
d = Sub(x, m)
q = Pow(d, two)
v = ReduceMean(q)
t = Add(v, eps)
r = Sqrt(t)
n = Div(d, r)
k = Mul(n, scale)
y = Add(k, offset)"""
RMS = """q = Pow(x, two)
v = ReduceMean(q)
t = Add(v, eps)
r = Sqrt(t)
i = Reciprocal(r)
n = Mul(x, i)
y = Mul(scale, n)"""
GELUS = numbers(r=2**0.5, q=0.5**0.5, one=1, half=0.5)
NORMS = numbers(two=2, eps=1e-3) | {"scale": ROW, "offset": -ROW}


@pytest.mark.parametrize(
    ("text", "initial", "kinds"),
    [
        (SILU, {}, ["silu"]),
        (SCALED, numbers(c=1.702), ["gelu"]),
        (SCALED, numbers(c=1.5), ["mul", "sigmoid", "mul"]),
        (MISH, {}, ["mish"]),
        (GELU_AFTER, GELUS, ["gelu_erf"]),
        (GELU_BEFORE, GELUS, ["gelu_erf"]),
        (GELU_AFTER, GELUS | numbers(r=2.0), ["div", "erf", "add", "mul", "mul"]),
        (GELU_BEFORE, GELUS | numbers(half=0.4), ["mul", "mul", "erf", "add", "mul"]),
        (NORM, NORMS, ["layer_normalization"]),
        (RMS, NORMS, ["rms_normalization"]),
        (NORM.replace("Div(d, r)", "Div(x, r)"), NORMS, None),
        (NORM.replace("Pow(d, two)", "Pow(x, two)"), NORMS, None),
    ],
)
def test_recognised(text: str, initial: dict[str, np.ndarray], kinds: Sequence[str] | None) -> None:
    proto = model(steps(text), [info("x", [2, 3, 6])], initial=initial)
    graph = load(proto)
    found = [op.kind for op in graph.ops if op.kind not in ("variable", "constant")]
    assert "layer_normalization" not in found if kinds is None else found == kinds
    inputs = {"x": np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)}
    (answer,) = ort_answers.run([(proto.SerializeToString(), inputs)])
    assert ort_answers.difference(list(evaluate(graph, inputs).values()), answer) is None


def test_steps_that_are_used_elsewhere_stay() -> None:
    proto = model(steps(SILU), [info("x", [2, 3])], outputs=("y", "s"))
    graph = load(proto)
    assert sorted(op.kind for op in graph.ops) == ["sigmoid", "silu"] and [v.name for v in graph.outputs] == ["y", "s"]


def test_known_tensors_on_both_sides() -> None:
    proto = model(steps("s = Sigmoid(x)\ny = Mul(w, s)"), [info("x", [6])], initial={"w": ROW})
    assert [op.kind for op in load(proto).ops if op.kind != "variable"] == ["sigmoid", "mul"]

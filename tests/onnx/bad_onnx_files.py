"""ONNX files that are broken, or made to break us: how each is made, the exit code and a part of the message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from models import BOOL, F32, I64, conv_net, graph, info, model, node, weights
from onnx import TensorProto, helper

Build = Callable[[Path], Path]
X = [info("x", [1, 4])]
GOOD = conv_net().SerializeToString()
INVALID, UNSUPPORTED = 3, 4


def stored(data: bytes | onnx.ModelProto | Callable[[], bytes | onnx.ModelProto]) -> Build:
    """Write a file of these bytes."""

    def build(folder: Path) -> Path:
        made = data() if callable(data) else data
        path = folder / "m.onnx"
        path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
        return path

    return build


def changed(change: Callable[[onnx.ModelProto], Any]) -> Build:
    """Write the good model after a change."""

    def make() -> onnx.ModelProto:
        made = conv_net()
        change(made)
        return made

    return stored(make)


def one(
    op: str, inputs: list[str], *, opset: int = 17, initial: Any = None, outputs: Any = ("y",), **attrs: Any
) -> Build:
    """Write a model of one node on ``x`` of shape [1, 4]."""
    return stored(lambda: model([node(op, inputs, list(outputs), **attrs)], X, initial=initial, opset=opset))


def external(change: Callable[[onnx.TensorProto, Path], Any], data: bytes | None = bytes(1728)) -> Build:
    """Write the good model with the filter in ``w.bin``, after a change to where it says that it lies."""

    def build(folder: Path) -> Path:
        made = conv_net()
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        if data is not None:
            (folder / "w.bin").write_bytes(data)
        change(tensor, folder)
        path = folder / "m.onnx"
        path.write_bytes(made.SerializeToString())
        return path

    return build


def lies(**entries: object) -> Callable[[onnx.TensorProto, Path], None]:
    """Where the filter says that it lies."""

    def change(tensor: onnx.TensorProto, folder: Path) -> None:
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))

    return change


def linked(tensor: onnx.TensorProto, folder: Path) -> None:
    os.symlink("/etc/hostname", folder / "link.bin")
    lies(location="link.bin")(tensor, folder)


def linked_folder(tensor: onnx.TensorProto, folder: Path) -> None:
    os.symlink("/etc", folder / "sub")
    lies(location="sub/hostname")(tensor, folder)


def piped(tensor: onnx.TensorProto, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    lies(location="pipe")(tensor, folder)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


HEADER = b"\x08\x0a" + field(8, b"\x10\x11")
"""An IR version and an opset."""


def nested_ifs(depth: int) -> onnx.ModelProto:
    """Conditions inside conditions."""
    inner = graph([node("Relu", ["x"], ["z0"])], outputs=["z0"])
    for i in range(1, depth):
        branch = node(
            "If",
            ["c"],
            [f"z{i}"],
            then_branch=inner,
            else_branch=graph([node("Neg", ["x"], [f"e{i}"])], outputs=[f"e{i}"]),
        )
        inner = graph([branch], outputs=[f"z{i}"])
    return model(inner.node, [*X, info("c", [], BOOL)], [f"z{depth - 1}"])


def deep_bytes() -> bytes:
    """A graph in a node's attribute in a graph, 200 deep, as bytes."""
    data = b""
    for _ in range(200):
        data = field(1, field(5, field(6, data)))
    return HEADER + field(7, data)


def recursive() -> onnx.ModelProto:
    function = helper.make_function(
        "f", "F", ["a"], ["b"], [node("F", ["a"], ["b"], domain="f")], [helper.make_opsetid("f", 1)]
    )
    return model([node("F", ["x"], ["y"], domain="f")], X, domains={"f": 1}, functions=[function])


def bomb() -> onnx.ModelProto:
    """Functions that each use the next ten times: 10**12 nodes."""
    functions = []
    for i in range(12):
        body = [
            node(f"F{i + 1}" if i < 11 else "Relu", [f"t{k}"], [f"t{k + 1}"], domain="f" if i < 11 else "")
            for k in range(10)
        ]
        functions.append(
            helper.make_function(
                "f", f"F{i}", ["t0"], ["t10"], body, [helper.make_opsetid("f", 1), helper.make_opsetid("", 17)]
            )
        )
    return model([node("F0", ["x"], ["y"], domain="f")], X, domains={"f": 1}, functions=functions)


def looping(trips: int | None, condition: str = "k") -> onnx.ModelProto:
    """A loop of so many trips, or without an end; its condition after a trip is that before, or computed."""
    body_nodes = [node("Add", ["v", "v"], ["w"])]
    if condition == "computed":
        body_nodes += [
            node("ReduceSum", ["w"], ["r"], keepdims=0),
            node("Constant", [], ["o"], value_float=9.0),
            node("Less", ["r", "o"], ["computed"]),
        ]
    body = graph(
        body_nodes,
        [info("i", [], I64), info("k", [], BOOL), info("v", [1, 4])],
        [info(condition, [], BOOL), info("w", [1, 4])],
    )
    initial = {} if trips is None else {"m": np.array(trips, np.int64)}
    return model([node("Loop", ["m" if initial else "", "", "x"], ["y"], body=body)], X, initial=initial)


def twice(name: str) -> Callable[[onnx.ModelProto], Any]:
    return lambda m: m.graph.node[1].output.__setitem__(0, name)


def rename(m: onnx.ModelProto, index: int, old: int, name: str) -> None:
    m.graph.node[index].input[old] = name


def tensor(**changes: Any) -> Callable[[onnx.ModelProto], None]:
    """A change of the filter."""

    def change(m: onnx.ModelProto) -> None:
        for name, value in changes.items():
            if name == "dims":
                del m.graph.initializer[0].dims[:]
                m.graph.initializer[0].dims.extend(value)
            else:
                setattr(m.graph.initializer[0], name, value)

    return change


def shaped(shape: list[int]) -> dict[str, np.ndarray]:
    return {"s": np.array(shape, np.int64)}


FILES: dict[str, tuple[Build, int, str]] = {
    # ---- no model at all
    "empty": (stored(b""), INVALID, "has no graph"),
    "text": (stored(b"version 1.0;\ngraph g(x) -> (y)\n"), INVALID, "no ONNX model"),
    "zeros": (stored(bytes(4096)), INVALID, "no ONNX model"),
    "random": (stored(np.random.default_rng(1).bytes(100_000)), INVALID, "no ONNX model"),
    "folder": (lambda folder: (folder / "m.onnx").mkdir() or folder / "m.onnx", INVALID, "no regular file"),
    "missing": (lambda folder: folder / "m.onnx", INVALID, "cannot be read"),
    "pipe": (lambda folder: os.mkfifo(folder / "m.onnx") or folder / "m.onnx", INVALID, "no regular file"),
    "half": (stored(GOOD[: len(GOOD) // 2]), INVALID, "cut short"),
    "last byte missing": (stored(GOOD[:-1]), INVALID, "cut short"),
    "length of 2**60": (stored(HEADER + b"\x3a" + varint(1 << 60)), INVALID, "cut short"),
    "endless number": (stored(HEADER + b"\x3a" + b"\xff" * 30), INVALID, "no number"),
    "no graph": (stored(HEADER), INVALID, "has no graph"),
    "no IR version": (stored(GOOD[2:]), INVALID, "no IR version"),
    "IR version 99": (changed(lambda m: setattr(m, "ir_version", 99)), UNSUPPORTED, "IR version 99"),
    "negative IR version": (changed(lambda m: setattr(m, "ir_version", -1)), INVALID, "no IR version"),
    "name is no UTF-8": (stored(HEADER + field(7, field(2, b"\xff\xfe"))), INVALID, "no UTF-8"),
    "3 million empty nodes": (stored(lambda: HEADER + field(7, b"\x0a\x00" * 3_000_000)), UNSUPPORTED, "parts"),
    "200 nested graphs": (stored(deep_bytes), INVALID, "nested"),
    # ---- opsets
    "no opset": (changed(lambda m: m.ClearField("opset_import")), INVALID, "imports no opset"),
    "opset 5": (stored(lambda: model([node("Relu", ["x"], ["y"])], X, opset=5)), UNSUPPORTED, "opset 1;"),
    "opset 1000": (stored(lambda: model([node("Relu", ["x"], ["y"])], X, opset=1000)), UNSUPPORTED, "opset 1000"),
    "two versions of a domain": (
        changed(lambda m: m.opset_import.add(domain="ai.onnx", version=9)),
        INVALID,
        "two versions",
    ),
    "domain without an opset": (one("Relu", ["x"], domain="com.acme"), INVALID, "'com.acme'"),
    "unknown operation": (one("Frobnicate", ["x"], name="odd"), UNSUPPORTED, "node 'odd' (Frobnicate): there is no"),
    "unknown domain": (
        stored(lambda: model([node("Foo", ["x"], ["y"], domain="com.acme")], X, domains={"com.acme": 1})),
        UNSUPPORTED,
        "com.acme.Foo",
    ),
    "withdrawn operation": (one("Upsample", ["x", "x"]), INVALID, "withdrawn"),
    # ---- names
    "node out of order": (changed(lambda m: m.graph.node.reverse()), INVALID, "out of order"),
    "cycle": (changed(lambda m: rename(m, 0, 0, "y")), INVALID, "cycle"),
    "own output": (changed(lambda m: rename(m, 1, 0, "y")), INVALID, "cycle"),
    "missing input": (changed(lambda m: rename(m, 0, 0, "nowhere")), INVALID, "'nowhere' is made by no node"),
    "required input left out": (changed(lambda m: rename(m, 0, 1, "")), INVALID, "left out"),
    "name made twice": (changed(twice("c")), INVALID, "two tensors are named 'c'"),
    "name of an input made": (changed(twice("x")), INVALID, "two tensors are named 'x'"),
    "initialiser twice": (
        changed(lambda m: m.graph.initializer.add().CopyFrom(m.graph.initializer[0])),
        INVALID,
        "same name",
    ),
    "input twice": (changed(lambda m: m.graph.input.add().CopyFrom(m.graph.input[0])), INVALID, "same name"),
    "output twice": (changed(lambda m: m.graph.output.add().CopyFrom(m.graph.output[0])), INVALID, "same name"),
    "no output": (changed(lambda m: m.graph.ClearField("output")), INVALID, "no outputs"),
    "output that nothing makes": (
        changed(lambda m: setattr(m.graph.output[0], "name", "z")),
        INVALID,
        "'z' is made by no node",
    ),
    # ---- types and shapes of inputs
    "input without a type": (changed(lambda m: m.graph.input[0].ClearField("type")), INVALID, "no type"),
    "input of strings": (
        changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.STRING)),
        UNSUPPORTED,
        "STRING",
    ),
    "input of element type 77": (
        changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)),
        INVALID,
        "element type",
    ),
    "input of integers": (
        changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", I64)),
        INVALID,
        "node 'conv'",
    ),
    "negative extent": (
        changed(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", -5)),
        INVALID,
        "-5",
    ),
    "extent of 2**62": (
        changed(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 1 << 62)),
        INVALID,
        "elements",
    ),
    "free extents": (
        changed(lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_param", "H")),
        UNSUPPORTED,
        "dimension 2 of 'x' ('H')",
    ),
    "output of another type": (
        changed(lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", I64)),
        INVALID,
        "declared as INT64",
    ),
    # ---- stored tensors
    "too few bytes": (changed(tensor(raw_data=bytes(8))), INVALID, "needs 1728 bytes"),
    "too many extents": (changed(tensor(dims=[1] * 40)), INVALID, "has the shape"),
    "negative dims": (changed(tensor(dims=[-16, 3, 3, -3])), INVALID, "has the shape"),
    "dims of 2**40": (changed(tensor(dims=[1 << 40, 3, 3, 3])), INVALID, "bytes, but has"),
    "dims without values": (
        changed(lambda m: (tensor(dims=[1 << 50])(m), m.graph.initializer[0].ClearField("raw_data"))),
        INVALID,
        "values, but has 0",
    ),
    "tensor of no type": (changed(tensor(data_type=0)), INVALID, "element type"),
    "tensor of type 99": (changed(tensor(data_type=99)), INVALID, "element type"),
    "tensor of strings": (changed(tensor(data_type=TensorProto.STRING)), UNSUPPORTED, "STRING"),
    "tensor of complex numbers": (changed(tensor(data_type=TensorProto.COMPLEX64)), UNSUPPORTED, "COMPLEX64"),
    "tensor of float8 of another size": (
        changed(tensor(data_type=TensorProto.FLOAT8E5M2)),
        INVALID,
        "of float8_e5m2 and shape [16, 3, 3, 3] needs 432 bytes",
    ),
    "convolution by weights of 4 bits": (
        changed(tensor(data_type=TensorProto.INT4, raw_data=bytes(216))),
        UNSUPPORTED,
        "elements of int4 are not computed with",
    ),
    "sparse initialiser": (
        changed(lambda m: m.graph.sparse_initializer.add().values.CopyFrom(m.graph.initializer[0])),
        UNSUPPORTED,
        "sparse",
    ),
    # ---- data outside
    "data at an absolute path": (external(lies(location="/etc/hostname")), INVALID, "no path inside"),
    "data above the folder": (external(lies(location="../w.bin")), INVALID, "no path inside"),
    "data above, in disguise": (external(lies(location="a/../../w.bin")), INVALID, "no path inside"),
    "data of no name": (external(lies(offset=0)), INVALID, "no path inside"),
    "data behind a link": (external(linked), INVALID, "links are not followed"),
    "data in a linked folder": (external(linked_folder), INVALID, "links are not followed"),
    "data in a pipe": (external(piped), INVALID, "no regular file"),
    "data that is missing": (external(lies(location="w.bin"), None), INVALID, "No such file"),
    "data cut short": (external(lies(location="w.bin"), bytes(100)), INVALID, "which has 100"),
    "data beyond the end": (external(lies(location="w.bin", offset=1700, length=1728)), INVALID, "which has 1728"),
    "data of a wrong length": (external(lies(location="w.bin", length=8)), INVALID, "needs 1728 bytes"),
    "data at a negative offset": (external(lies(location="w.bin", offset=-4)), INVALID, "no number of bytes"),
    "data at offset 1e9": (external(lies(location="w.bin", offset="1e9")), INVALID, "no number of bytes"),
    # ---- attributes
    "unknown attribute": (one("Relu", ["x"], alpha=1.0), INVALID, "no attribute 'alpha'"),
    "attribute of a wrong type": (one("Concat", ["x", "x"], axis="one"), INVALID, "INT is declared"),
    "attribute missing": (one("Concat", ["x", "x"]), INVALID, "'axis' is missing"),
    "attribute twice": (
        changed(lambda m: m.graph.node[0].attribute.add().CopyFrom(m.graph.node[0].attribute[0])),
        INVALID,
        "twice",
    ),
    "too many inputs": (one("Relu", ["x", "x"]), INVALID, "there are 2 inputs"),
    "too many outputs": (one("Relu", ["x"], outputs=["y", "z"]), INVALID, "there are 2 outputs"),
    "axis out of range": (one("Concat", ["x", "x"], axis=7), INVALID, "axis"),
    "pads of 2**40": (
        changed(lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, 1 << 40)),
        INVALID,
        "node 'conv'",
    ),
    "a million pads": (
        changed(lambda m: m.graph.node[0].attribute[0].ints.extend([0] * 1_000_000)),
        INVALID,
        "node 'conv'",
    ),
    "strides of zero": (
        changed(lambda m: m.graph.node[0].attribute.add().CopyFrom(helper.make_attribute("strides", [0, 0]))),
        INVALID,
        "node 'conv'",
    ),
    "groups of 1000": (
        changed(lambda m: m.graph.node[0].attribute.add().CopyFrom(helper.make_attribute("group", 1000))),
        INVALID,
        "node 'conv'",
    ),
    "reshape to other elements": (one("Reshape", ["x", "s"], initial=shaped([3, 5])), INVALID, "Reshape"),
    "expand to 2**45 elements": (one("Expand", ["x", "s"], initial=shaped([1 << 41, 4])), INVALID, "elements"),
    "constant of 2**40 elements": (
        stored(
            lambda: model(
                [node("ConstantOfShape", ["s"], ["z"]), node("ReduceSum", ["z"], ["y"], keepdims=0)],
                initial=shaped([1 << 41]),
            )
        ),
        INVALID,
        "ConstantOfShape",
    ),
    "tile 2**62 times": (one("Tile", ["x", "s"], initial=shaped([1 << 62, 1])), INVALID, "Tile"),
    # ---- control flow and functions
    "30 nested conditions": (stored(lambda: nested_ifs(30)), UNSUPPORTED, "nested"),
    "function that uses itself": (stored(recursive), UNSUPPORTED, "nested"),
    "functions of 10**12 nodes": (stored(bomb), UNSUPPORTED, "operations"),
    "function twice": (stored(lambda: _with_function_twice()), INVALID, "defined twice"),
    "loop without an end": (stored(lambda: looping(None)), UNSUPPORTED, "times; loops are unrolled"),
    "loop of 2**40 trips": (stored(lambda: looping(1 << 40)), UNSUPPORTED, "times; loops are unrolled"),
    "loop with a computed condition": (stored(lambda: looping(4, "computed")), UNSUPPORTED, "must be known"),
    "branches of different shapes": (
        stored(
            lambda: model(
                [
                    node(
                        "If",
                        ["c"],
                        ["y"],
                        then_branch=graph([node("Relu", ["x"], ["p"])], outputs=["p"]),
                        else_branch=graph([node("Concat", ["x", "x"], ["q"], axis=0)], outputs=["q"]),
                    )
                ],
                [*X, info("c", [], BOOL)],
            )
        ),
        UNSUPPORTED,
        "types must be equal",
    ),
    "shape that is computed": (
        stored(lambda: model([node("Reshape", ["x", "s"], ["y"])], [*X, info("s", [2], I64)])),
        UNSUPPORTED,
        "--const",
    ),
}


def _with_function_twice() -> onnx.ModelProto:
    made = recursive()
    made.functions.add().CopyFrom(made.functions[0])
    return made


__all__ = ["F32", "FILES", "weights"]

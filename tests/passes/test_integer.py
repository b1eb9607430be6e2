"""Quantized networks on codes: what the passes make of them, and that it is what exact arithmetic on integers gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from quantized_cases import Layer, decoded, f32, literals, network, quantized, requantized, shifted, sums, zero_point

import nnefc
from nnefc.codegen.execution import execution_of
from nnefc.ir.graph import Graph, Tensor
from nnefc.passes import pipeline

Draw = Callable[[np.random.Generator, bool], tuple[Layer, np.ndarray]]


def encoding(parameters: tuple[float, int, int, int]) -> str:
    scale, zero, low, high = parameters
    bits = high.bit_length() + int(low < 0)
    return zero_point(float(f32(scale)), zero, bits, low < 0, low == -high)


def drawn(rng: np.random.Generator, half_up: bool) -> tuple[Layer, np.ndarray]:
    """A layer and an input."""

    def tensor() -> tuple[float, int, int, int]:
        bits, signed = int(rng.choice([8, 8, 8, 5])), bool(rng.integers(2))
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        zero = int(rng.integers(low, high + 1)) if rng.integers(2) else low
        return float(f32(0.01 + rng.random() / 50)), zero, low, high

    groups = int(rng.choice([1, 1, 2, 9]))
    inner, outer = (1, 9) if groups == 9 else (int(rng.integers(1, 6)), groups * int(rng.integers(1, 8)))
    kernel, size = int(rng.choice([1, 3])), int(rng.integers(3, 8))
    low, high = (-127, 127) if rng.integers(2) else (-7, 8)
    w = rng.integers(low, high + 1, (outer, inner, kernel, kernel))
    per_channel = outer if rng.integers(2) else 1
    scale = np.broadcast_to(f32(0.002 + rng.random(per_channel) / 300), outer)
    zero = np.full(outer, int(rng.integers(-3, 4)) if high < 127 else 0)
    layer = Layer(
        tensor(),
        tensor(),
        w,
        scale,
        zero,
        f32(rng.normal(size=outer)),
        int(rng.integers(1, 3)),
        int(rng.integers(0, 2)),
        groups,
        None if rng.integers(2) else (0.0, float(rng.choice([1.0, 2.0]))),
        half_up,
    )
    return layer, f32(rng.normal(size=(2, groups * inner, size, size)))


def drawn_powers(rng: np.random.Generator, half_up: bool) -> tuple[Layer, np.ndarray]:
    """A layer of powers of two up to 2^15 apart and an input. In each channel the least power is 1."""
    layer, x = drawn(rng, half_up)
    spread = int(rng.integers(0, 16))
    w = rng.choice([-1, 1, 1, 0], layer.w.shape) << rng.integers(0, spread + 1, layer.w.shape)
    w[:, 0, 0, 0] = rng.choice([-1, 1], len(w))
    scale = f32(layer.w_scale * 2.0 ** min(7 - spread, 0))
    return replace(layer, w=w, w_scale=scale, w_zero=np.zeros_like(layer.w_zero)), x


def codes_of(layer: Layer) -> Tensor:
    wide = np.abs(layer.w).max() > 127
    return Tensor(layer.w.astype(np.int32 if wide else np.int8), "int", 32 if wide else 8)


def layer_network(layer: Layer, x: np.ndarray) -> Graph:
    """The layer as a Graph: with encodings where halves go up, with operations on codes where they go to the even."""
    shape = layer.w.shape
    conv = (
        f"padding = [({layer.pad}, {layer.pad}), ({layer.pad}, {layer.pad})], stride = [{layer.stride}, {layer.stride}]"
    )
    scale = literals(layer.w_scale, axis_first=True)
    tensors = {"wq": codes_of(layer), "bias": Tensor(layer.bias[None], "float", 32)}
    lines = [
        f"ws = constant(shape = [{shape[0]}], value = {scale});",
        f"wq: i{codes_of(layer).bits}{list(shape)} = variable<integer>(shape = {list(shape)}, label = 'wq');",
        f"w = dequantize_linear(wq, ws, {int(layer.w_zero[0])});",
        f"bias = variable(shape = [1, {shape[0]}], label = 'bias');",
    ]
    after = "c" if layer.clamp is None else "d"
    cut = "" if layer.clamp is None else f"d{{y}} = clamp(c, {layer.clamp[0]}, {layer.clamp[1]});"
    if layer.half_up:
        place = f": f32{list(output_shape(layer, x))} @ {encoding(layer.y)}"
        lines.insert(0, f"x: f32{list(x.shape)} @ {encoding(layer.x)} = external(shape = {list(x.shape)});")
        on_c = place if after == "c" else ""
        lines.append(f"c{on_c} = conv(x, w, bias, {conv}, groups = {layer.groups});")
        lines += [cut.format(y=place)] if cut else []
        lines.append(f"y = copy({after});")
    else:
        lines.insert(0, f"x = external(shape = {list(x.shape)});")
        lines += [*pair("x", layer.x), f"c = conv(x_d, w, bias, {conv}, groups = {layer.groups});"]
        lines += [cut.format(y="")] if cut else []
        lines += [*pair(after, layer.y), f"y = copy({after}_d);"]
    return network("\n".join(lines), tensors)


def pair(name: str, parameters: tuple[float, int, int, int]) -> list[str]:
    scale, zero, low, high = parameters
    bits, signed = high.bit_length() + int(low < 0), str(low < 0).lower()
    code = f"quantize_linear({name}, {scale}, {zero}, bits = {bits}, signed = {signed})"
    return [f"{name}_q = {code};", f"{name}_d = dequantize_linear({name}_q, {scale}, {zero});"]


def output_shape(layer: Layer, x: np.ndarray) -> tuple[int, ...]:
    rows = (x.shape[2] + 2 * layer.pad - layer.w.shape[2]) // layer.stride + 1
    return x.shape[0], layer.w.shape[0], rows, rows


@pytest.mark.parametrize("half_up", (True, False))
@pytest.mark.parametrize("seed", range(40))
def test_layers_are_exact(seed: int, half_up: bool) -> None:
    check_exact(*drawn(np.random.default_rng(seed), half_up))


@pytest.mark.parametrize("half_up", (True, False))
@pytest.mark.parametrize("seed", range(200, 230))
def test_layers_of_powers_of_two_are_exact(seed: int, half_up: bool) -> None:
    check_exact(*drawn_powers(np.random.default_rng(seed), half_up))


def check_exact(layer: Layer, x: np.ndarray) -> None:
    """The layer is computed on integers alone, and what it gives is what they add up to."""
    graph, half_up = layer_network(layer, x), layer.half_up
    program = pipeline.run(graph)
    assert execution_of(program).share == 1 and not execution_of(program).islands
    moved = shifted(layer)
    wanted = requantized(moved, sums(moved, quantized(x, moved.x, half_up)))
    got = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    assert np.array_equal(got, decoded(wanted, moved.y))
    plain = nnefc.evaluate(graph, {"x": x}, execution="float")["y"]
    assert np.abs(got - plain).max() <= 1.001 * layer.y[0]


PATHS = ("host", "x86_64-unknown-linux-gnu:x86-64-v3", "x86_64-unknown-linux-gnu:x86-64-v2")


@pytest.mark.parametrize("half_up", (True, False))
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("seed", "draw"), [(s, drawn) for s in range(100, 103)] + [(s, drawn_powers) for s in range(3)]
)
def test_compiled_layers_give_the_same_codes(seed: int, draw: Draw, path: str, half_up: bool) -> None:
    """With the dot product of bytes, with products of 16 bits, and without either; by any number of threads."""
    layer, x = draw(np.random.default_rng(seed), half_up)
    graph = layer_network(layer, x)
    wanted = nnefc.evaluate(graph, {"x": x}, execution="integer")["y"]
    for threads in (1, 2, 3):
        assert np.array_equal(nnefc.compile(graph, target=path, threads=threads)(x), wanted)

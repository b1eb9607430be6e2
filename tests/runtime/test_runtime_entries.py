"""Artefacts of several entries: the shapes of the inputs choose, state and weights are common, C names the entry."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from skips import skip
from test_runtime_c import built, run
from toy_models import F32, I64, artefact_of, counters, plan_of, ring, rings, together, weights_of

from nnefc.codegen.artefact import load_artefact, load_package, verify_package, write_package
from nnefc.codegen.driver import BAD_CALL, CALL_SIZE
from nnefc.codegen.objectfile import load_objects
from nnefc.errors import UnsupportedError
from nnefc.runtime import Model
from nnefc.runtime.memory import Call

SIZES = (40, 3000, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made") / "rings"
    write_package(rings(), made)
    return made


@pytest.fixture(scope="module", params=["in memory, 1 thread", "in memory, 3 threads", "package, 3 threads"])
def model(request: pytest.FixtureRequest, folder: Path) -> Model:
    threads = 1 if "1 thread" in request.param else 3
    return load_package(folder, threads) if "package" in request.param else load_artefact(rings(), threads)


def check(model: Model, n: int, seed: int = 0) -> None:
    x = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    np.testing.assert_array_equal(model(x), np.roll(x, -(n // 2)))


def test_the_shape_chooses(model: Model) -> None:
    for n in (*SIZES, *SIZES[::-1]):
        check(model, n)
        x, out = np.arange(n, dtype=np.float32), np.empty(n, np.float32)
        assert model(x=x, out=out) is out
        np.testing.assert_array_equal(out, np.roll(x, -(n // 2)))


def test_entries_are_told(model: Model) -> None:
    assert [entry.shapes for entry in model.entries] == [((n,),) for n in SIZES]
    assert [entry.max_threads for entry in model.entries] == [40, 256, 1]
    assert [entry.arena_size for entry in model.entries] == [8 * n for n in SIZES]
    assert model.inputs == model.entries[0].inputs and model.outputs == model.entries[0].outputs
    ports = " or ".join(f"(x: float32[{n}]) -> (y: float32[{n}])" for n in SIZES)
    assert repr(model) == f"<model rings{ports}>"


def test_unknown_shapes(model: Model) -> None:
    words = r"rings was not compiled for inputs of the shapes x \(41,\); it takes x \(40,\); x \(3000,\); x \(7,\)$"
    with pytest.raises(ValueError, match=words):
        model(np.zeros(41, np.float32))
    with pytest.raises(ValueError, match=r"x \(1, 40\); it takes"):
        model(x=np.zeros((1, 40), np.float32))
    with pytest.raises(TypeError, match="input 'x' must be a NumPy array, not list"):
        model([1.0] * 40)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must have dtype float32, not float64"):
        model(np.zeros(40))
    with pytest.raises(TypeError, match="needs the inputs x; missing: x"):
        model()
    with pytest.raises(ValueError, match=r"out for 'y' must have shape \(40,\), not \(7,\)"):
        model(np.zeros(40, np.float32), out=np.zeros(7, np.float32))
    check(model, 40)


def test_many_entries_are_not_all_listed() -> None:
    made = load_artefact(rings(sizes=tuple(range(2, 22)), serial=tuple(range(2, 22))))
    with pytest.raises(ValueError, match=r"x \(16,\); x \(17,\); and 4 more$"):
        made(np.zeros(1, np.float32))
    for n in range(2, 22):
        check(made, n)


def test_callers_of_several_shapes_at_once(model: Model) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: [check(model, SIZES[(k + i) % 3], i) for i in range(30)], range(12)))


@pytest.mark.parametrize("threads", [1, 2])
def test_variables_are_common(threads: int) -> None:
    model = load_artefact(counters(), threads)
    one, two = np.ones(1, np.float32), np.ones(2, np.float32)
    assert [model(x)[9] for x in (one, two, two, one)] == [10, 11, 12, 13]
    model.reset()
    assert model(two)[9] == 10


def test_two_inputs_choose_together() -> None:
    entries = []
    for shapes in (((3,), (5,)), ((5,), (3,)), ((3,), (3,))):
        plan = plan_of([], weights_of())
        entries.append((plan, dict(zip("ab", shapes, strict=True)), {"y": (1,)}))
    model = load_artefact(together("two", entries))
    for a, b in ((3, 5), (5, 3), (3, 3)):
        assert model(np.zeros(a, np.float32), b=np.zeros(b, np.float32)).shape == (1,)
    with pytest.raises(ValueError, match=r"shapes a \(5,\), b \(5,\); it takes a \(3,\), b \(5,\); a \(5,\), b \(3,\)"):
        model(np.zeros(5, np.float32), np.zeros(5, np.float32))


def test_entries_that_do_not_go_together() -> None:
    plan = plan_of([], weights_of())
    with pytest.raises(ValueError, match=r"two sets of shapes give the inputs the same shapes: x: float32\[3\]"):
        together("m", [(plan, {"x": (3,)}, {"y": (1,)}), (plan, {"x": (3,)}, {"y": (2,)})])
    for inputs, outputs, words in (
        ({"z": (4,)}, {"y": (1,)}, r"the inputs of .* \(x: float32\) and \(z: float32\)"),
        ({"x": (I64, (4,))}, {"y": (1,)}, r"the inputs of .* \(x: float32\) and \(x: int64\)"),
        ({}, {"y": (1,)}, r"the inputs of .* \(x: float32\) and \(\)"),
        (
            {"x": (4,)},
            {"y": (1,), "z": (F32, (1,))},
            r"the outputs of .* \(y: float32\) and \(y: float32, z: float32\)",
        ),
    ):
        with pytest.raises(UnsupportedError, match=words):
            together("m", [(plan, {"x": (3,)}, {"y": (1,)}), (plan, inputs, outputs)])


def test_the_package(folder: Path, tmp_path: Path) -> None:
    assert [e.shapes for e in verify_package(folder).entries] == [((n,),) for n in SIZES]
    content = json.loads((folder / "manifest.json").read_text())
    assert [(e["arena"], e["max_threads"]) for e in content["entries"]] == [(320, 40), (24000, 256), (56, 1)]
    write_package(rings(), tmp_path / "rings")
    for path in folder.rglob("*.*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "rings" / path.relative_to(folder)).read_bytes(), path
    script = "import numpy as np, rings; print(rings(np.arange(7, dtype='f4'))); print(len(rings.model.entries))"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder.parent, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[3. 4. 5. 6. 0. 1. 2.]\n3\n", "")
    assert "    input x: float32[3000]\n    output y: float32[3000]\n" in (folder / "__init__.py").read_text()


def test_an_entry_that_is_none_does_nothing() -> None:
    for made, count in ((rings(), 3), (ring(), 1)):
        handle = load_objects(made.objects("m"))
        function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)
        run = function(handle.address("m_run"))
        for entry in (count, 2**63, 2**64 - 1):
            call = Call(CALL_SIZE, entry=entry)
            assert run(ctypes.addressof(call), 0, 1) == BAD_CALL


_C = r"""
static alignas(NNEFC_ALIGNMENT) char arena[RINGS_ARENA_BYTES];

int main(int argc, char **argv) {
    static float x[RINGS_INPUT_0_BYTES / sizeof(float)], y[RINGS_OUTPUT_0_BYTES / sizeof(float)];
    const size_t lengths[] = {RINGS_ENTRY_0_INPUT_0_BYTES / 4, RINGS_ENTRY_1_INPUT_0_BYTES / 4,
                              RINGS_ENTRY_2_INPUT_0_BYTES / 4, 1};
    const void *inputs[RINGS_INPUTS] = {x};
    void *outputs[RINGS_OUTPUTS] = {y};
    nnefc_call call = {.size = sizeof call, .inputs = inputs, .outputs = outputs,
                       .weights = file(argv[1], RINGS_WEIGHTS_BYTES), .arena = arena};
    for (int i = 0; i < 3000; i++) x[i] = (float)i;
    for (call.entry = 0; call.entry <= RINGS_ENTRIES; call.entry++) {
        y[0] = -1;
        int32_t error = rings_run(&call, 0, 1);
        printf("%d %g %d\n", (int)error, y[0], (int)lengths[call.entry]);
    }
    return 0;
}
"""


def test_a_c_caller_names_the_entry(folder: Path, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        skip("C callers of compiled packages")
    shutil.copytree(folder, tmp_path / "rings")
    done = run(built(tmp_path, "rings", _C), folder / "weights.bin")
    assert (done.returncode, done.stdout) == (0, "0 20 40\n0 1500 3000\n0 3 7\n-1 -1 1\n")
    header = (folder / "rings.h").read_text()
    assert "#define RINGS_ENTRY_1_INPUT_0_BYTES 12000u /* x: float[3000] */" in header
    assert "#define RINGS_ARENA_BYTES 24000u\n" in header and "#define RINGS_ENTRY_2_MAX_THREADS 1\n" in header


def test_one_entry_needs_no_number(tmp_path: Path) -> None:
    write_package(artefact_of("one", plan_of([], weights_of()), {"x": (3,)}, {"y": (1,)}), tmp_path / "one")
    header = (tmp_path / "one" / "one.h").read_text()
    assert "ENTRY_0" not in header and "sets of input shapes. " not in header
    assert "#define ONE_ENTRIES 1\n" in header and "/* x: float[3] */" in header

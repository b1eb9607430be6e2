"""ONNX models written again, as ONNX and as NNEF: ONNX Runtime gives the same, and what is read again is the same."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import ml_dtypes
import nnef
import node_cases
import numpy as np
import onnx
import ort_answers
import pytest
from skips import need

import nnefc
from nnefc.errors import UnsupportedError
from nnefc.formats.onnx import load, to_model
from nnefc.ir.graph import Graph
from nnefc.ops.evaluate import evaluate

TOLERANCE = 1e-5
MISSING = ("NOT_IMPLEMENTED", "is not supported", "Numpy_type", "No corresponding Numpy type")
"""What the run-time says of a kernel, or of an interface for an element type, that it has not."""
MODELS = (
    "ad_autoencoder kws_dscnn mnist_cntk mnist_convsmall resnet8_cifar10 ultraface_rfb320 vww_mobilenetv1_025 yunet_320"
).split()
ZOO = (
    "densenet121 dnn efficientnet_b0 lenet1 mobilenet_v2 mobilenet_v3_small resnet18 resnet50 shufflenet_v2_x1_0 "
    "squeezenet1_1 vgg16 vit_b_16"
).split()


def answers(model: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What ONNX Runtime gives for the inputs in order."""
    names = [i.name for i in model.graph.input]
    (answer,) = ort_answers.run([(model.SerializeToString(), dict(zip(names, arrays, strict=False)))])
    assert not isinstance(answer, str), answer
    return answer


def check(source: onnx.ModelProto, folder: Path) -> Graph:
    """ONNX -> Graph -> ONNX, and ONNX -> Graph -> NNEF -> Graph -> ONNX, give what the source gives."""
    graph = load(source)
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(v.type.extents).astype(v.type.dtype.numpy) for v in graph.inputs]
    wanted = answers(source, arrays)
    written = to_model(graph)
    onnx.checker.check_model(written, full_check=True)
    assert ort_answers.difference(answers(written, arrays), wanted, TOLERANCE) is None
    made = nnefc.convert(graph, folder / "net.nnef")
    again = nnefc.load(folder / "net.nnef", strict=True)
    assert again == graph
    if made.plain:
        accepted_by_khronos(folder / "net.nnef")
    assert ort_answers.difference(answers(to_model(again), arrays), wanted, TOLERANCE) is None
    return graph


def accepted_by_khronos(folder: Path) -> None:
    """The Khronos parser reads the text, and infers the shapes."""
    nnef.infer_shapes(nnef.parse_file(str(folder / "graph.nnef")))


@pytest.mark.parametrize("name", MODELS)
def test_real_models(shared: Path, tmp_path: Path, name: str) -> None:
    check(onnx.load(shared / "models" / name / f"{name}.onnx"), tmp_path)


@pytest.mark.conformance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ZOO)
def test_well_known_networks(shared: Path, tmp_path: Path, name: str) -> None:
    check(zoo(shared).fill(name), tmp_path)


def zoo(shared: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo", shared / "tools" / "zoo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_every_node_case(tell: Callable[[str], None]) -> None:
    """What the importer makes of a case means in ONNX Runtime, written again, what it means in NumPy."""
    bound: list[node_cases.Bound] = []
    count: Counter[str] = Counter()

    def models() -> Iterator[tuple[bytes, dict[str, np.ndarray]]]:
        for case in (*node_cases.generated(), *node_cases.stored()):
            try:
                made = node_cases.bind(case)
            except UnsupportedError:
                count["cannot be read"] += 1
                continue
            model = to_model(made.graph)
            onnx.checker.check_model(model, full_check=True)
            if any(a.dtype == ml_dtypes.bfloat16 for a in made.inputs.values()):
                count["bfloat16, which cannot be fed"] += 1
                continue
            bound.append(made)
            yield model.SerializeToString(), made.inputs

    wrong = {}
    for answer, made in zip(ort_answers.run(models()), bound, strict=True):
        if isinstance(answer, str):
            said: str | None = answer
        else:
            said = ort_answers.difference(answer, list(evaluate(made.graph, made.inputs).values()), 1e-3)
        if said is None:
            count["same"] += 1
        elif any(words in said for words in MISSING):
            count["not implemented by ONNX Runtime"] += 1
        else:
            wrong[made.case.name] = said
    tell("node cases read and written again: " + ", ".join(f"{n} {what}" for what, n in count.items()))
    assert not wrong


@pytest.mark.conformance
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "shufflenet_v2_x1_0", "resnet18", "lenet1"])
def test_tract_reads_what_is_written(shared: Path, tmp_path: Path, name: str) -> None:
    """Networks of operations that tract has; silu, gelu and nearest_upsample are not among them."""
    tract = need("tract's own engine", "tract")
    graph = load(zoo(shared).fill(name))
    (value,) = graph.inputs
    nnefc.save(graph, tmp_path / "net.nnef")
    x = np.random.default_rng(1).standard_normal(value.type.extents).astype(np.float32)
    (result,) = tract.nnef().load(str(tmp_path / "net.nnef")).into_runnable().run([x])
    wanted = answers(to_model(graph), [x])
    assert ort_answers.difference([result.to_numpy()], wanted, TOLERANCE) is None

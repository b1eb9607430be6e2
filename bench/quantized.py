"""Networks quantized by others: by ONNX Runtime's ``quantize_static`` and by NNCF for OpenVINO, each in a process of
its own, once.

    python -m bench.quantized KIND MODEL.onnx SAMPLES.npz OUT

``KIND`` is ``nncf`` (OUT is then OpenVINO's .xml), or ``ort-`` and the name of a calibrator of ONNX Runtime,
``minmax``, ``entropy`` or ``percentile`` (OUT is an .onnx file with QuantizeLinear and DequantizeLinear). The file of
samples holds one array for each input of the model, in their order, with the samples along a first axis of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.networks import ROOT
from nnefc.errors import UnsupportedError

QUANTIZED = ROOT / ".cache" / "quantized"
"""Where quantized networks are kept for the next time."""
SUFFIXES = {"nncf": ".xml", "ort-minmax": ".onnx", "ort-entropy": ".onnx", "ort-percentile": ".onnx"}
"""The kinds, and the files that they are."""
LEAST_OPSET = 13
"""Scales by channel need this version of the operators."""

Arrays = Mapping[str, np.ndarray]


def quantized(model: Path, kind: str, samples: Arrays) -> Path:
    """The file of a network quantized as ``kind`` says, calibrated on ``samples``, made unless it was before.

    Raises UnsupportedError, with what the other program said, where it cannot do it."""
    QUANTIZED.mkdir(parents=True, exist_ok=True)
    key = _key(model, samples)
    path = QUANTIZED / f"{model.stem}-{key}-{kind}{SUFFIXES[kind]}"
    failed = path.with_suffix(".failed")
    if failed.is_file():
        raise UnsupportedError(failed.read_text())
    if not path.is_file():
        with tempfile.TemporaryDirectory(prefix="nnefc-quantized-") as name:
            np.savez(Path(name) / "samples.npz", **samples)  # type: ignore[arg-type]
            made = Path(name) / f"made{SUFFIXES[kind]}"
            command = [sys.executable, "-m", "bench.quantized", kind, str(model), f"{name}/samples.npz", str(made)]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
                failed.write_text(f"{kind} cannot quantize {model.name}: {why}")
                raise UnsupportedError(failed.read_text())
            _keep(made, path)
    return path


def _key(model: Path, samples: Arrays) -> str:
    """What a quantized network depends on, beside its kind."""
    digest = hashlib.sha256(model.read_bytes())
    for name, array in samples.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:12]


def _keep(made: Path, path: Path) -> None:
    """Move what was made, and the weights beside it, the file that names the others last."""
    for suffix in (".bin", path.suffix):
        if made.with_suffix(suffix).is_file():
            partial = path.with_suffix(f"{suffix}.partial")
            partial.write_bytes(made.with_suffix(suffix).read_bytes())
            partial.rename(path.with_suffix(suffix))


def feeds(samples: Arrays) -> Iterator[dict[str, np.ndarray]]:
    """The inputs of each call."""
    for values in zip(*samples.values(), strict=True):
        yield dict(zip(samples, values, strict=True))


# ---- in the process that quantizes


def _inputs(model: Path) -> list[str]:
    """The names of its inputs."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    stored = {t.name for t in graph.initializer}
    return [i.name for i in graph.input if i.name not in stored]


def _recent(model: Path, folder: Path) -> Path:
    """The model, written anew in ``folder`` where it is older than what the others quantize."""
    import onnx

    import nnefc

    if onnx.load(model, load_external_data=False).opset_import[0].version >= LEAST_OPSET:
        return model
    nnefc.save(nnefc.load(model), folder / model.name)
    return folder / model.name


def _by_ort(model: Path, samples: Arrays, calibrator: str, output: Path) -> None:
    """QDQ, weights by channel, as ONNX Runtime's documentation advises: after its own simplifications."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds = feeds(samples)

        def get_next(self) -> Any:
            return next(self.feeds, None)

    with tempfile.TemporaryDirectory(prefix="nnefc-ort-") as folder:
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(str(model), str(ready), skip_symbolic_shape=True)
        q.quantize_static(
            str(ready),
            str(output),
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method={c.name.lower(): c for c in q.CalibrationMethod}[calibrator],
        )


def _by_nncf(model: Path, samples: Arrays, output: Path) -> None:
    """NNCF's ``quantize`` of OpenVINO's reading of the model, as it comes; transformers are told to be such."""
    import nncf
    import openvino

    network = openvino.Core().read_model(model)
    attends = any(op.get_type_name() == "Softmax" and len(op.get_output_shape(0)) > 2 for op in network.get_ops())
    data = nncf.Dataset(list(feeds(samples)))
    kind = nncf.ModelType.TRANSFORMER if attends else None
    found = nncf.quantize(network, data, subset_size=len(next(iter(samples.values()))), model_type=kind)
    openvino.save_model(found, output, compress_to_fp16=False)


def main() -> None:
    """Quantize one network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=SUFFIXES)
    for name in ("model", "samples", "output"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    with np.load(args.samples) as stored:
        samples = dict(stored)
    with tempfile.TemporaryDirectory(prefix="nnefc-recent-") as folder:
        model = _recent(args.model, Path(folder))
        samples = dict(zip(_inputs(model), samples.values(), strict=True))
        if args.kind == "nncf":
            _by_nncf(model, samples, args.output)
        else:
            _by_ort(model, samples, args.kind.removeprefix("ort-"), args.output)


if __name__ == "__main__":
    main()

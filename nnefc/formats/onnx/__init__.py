"""ONNX models on disk to Graphs, and back."""

from __future__ import annotations

from nnefc.formats.onnx.load import load
from nnefc.formats.onnx.write import save, to_model

__all__ = ["load", "save", "to_model"]

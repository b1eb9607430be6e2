"""ONNX models on disk to Graphs."""

from __future__ import annotations

from nnefc.formats.onnx.load import load

__all__ = ["load"]

"""Models of one node each: what we make of them, as NumPy means it and lowered, and what ONNX Runtime does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import ort_answers
from onnx import helper

from nnefc.formats.onnx import load
from nnefc.ir.interpret import interpret
from nnefc.ops.evaluate import evaluate
from nnefc.passes.lower import lower


@dataclass
class NodeCase:
    """``op`` at an opset; inputs that are ``known`` are initialisers, None leaves one out."""

    op: str
    inputs: Sequence[np.ndarray | None]
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 21
    known: Sequence[int] = ()
    outputs: int = 1

    def __str__(self) -> str:
        shown = ", ".join("-" if a is None else f"{a.dtype}{list(a.shape)}" for a in self.inputs)
        return f"{self.op} {self.opset} ({shown}; {self.attrs})"

    def given(self) -> dict[str, np.ndarray]:
        """The inputs that are no initialisers, by name."""
        return {f"x{i}": a for i, a in enumerate(self.inputs) if a is not None and i not in self.known}

    def model(self) -> onnx.ModelProto:
        """The model."""
        names = ["" if a is None else f"x{i}" for i, a in enumerate(self.inputs)]
        outputs = [f"y{i}" for i in range(self.outputs)]
        inputs = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in self.given().items()
        ]
        stored = [onnx.numpy_helper.from_array(np.asarray(self.inputs[i]), f"x{i}") for i in self.known]
        results = [helper.make_empty_tensor_value_info(o) for o in outputs]
        made = helper.make_model(
            helper.make_graph([helper.make_node(self.op, names, outputs, **self.attrs)], "g", inputs, results, stored),
            opset_imports=[helper.make_opsetid("", self.opset)],
        )
        made.ir_version = 9
        return made


def check(cases: Sequence[NodeCase], tolerance: float = 1e-5) -> None:
    """Hold the meaning and the lowering of every case to ONNX Runtime's answer."""
    answers = ort_answers.run((c.model().SerializeToString(), c.given()) for c in cases)
    for case, answer in zip(cases, answers, strict=True):
        assert not isinstance(answer, str), f"{case}: {answer}"
        graph = load(case.model())
        inputs = {v.name: case.given()[v.name] for v in graph.inputs}
        with np.errstate(all="ignore"):
            for way in (evaluate(graph, inputs), interpret(lower(graph), inputs)):
                fault = ort_answers.difference(list(way.values()), answer, tolerance)
                assert fault is None, f"{case}: {fault}"

"""How a quantized tensor's real values are coded (NNEF 1.0.5, section 7 and 4.9.5)."""

from __future__ import annotations

from dataclasses import dataclass

EXECUTIONS = ("integer", "float", "ignore")
"""How a quantized network is computed: on codes where kernels can, in float with every tensor pseudo-quantized (what
the standard means), or as if computed tensors had no encoding."""
Number = float | int | bool
Parameter = Number | tuple["Parameter", ...]


@dataclass(frozen=True)
class Encoding:
    """One line of ``graph.quant``: a quantization operation and its named parameters.

    ``algorithm`` is the operation's name, as ``zero_point_linear_quantize``; ``parameters`` are (name, value) pairs in
    the order of the operation's declaration; a value is a number or, per channel, nested tuples of numbers.
    """

    algorithm: str
    parameters: tuple[tuple[str, Parameter], ...]

    def __getitem__(self, name: str) -> Parameter:
        for key, value in self.parameters:
            if key == name:
                return value
        raise KeyError(name)

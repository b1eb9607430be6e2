"""What tensors are coded as: the schemes, and what applies to which operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnefc.quant.ranges import Codes


@dataclass(frozen=True)
class Scheme:
    """Codes of ``weights`` and ``activations``; None leaves them as they are. With ``half`` weights are stored as
    half-precision floats, with ``logarithmic`` as powers of two with ``weights.bits`` for the exponent."""

    weights: Codes | None = None
    activations: Codes | None = None
    half: bool = False
    logarithmic: bool = False


SCHEMES: Mapping[str, Scheme] = {
    "int8": Scheme(Codes(8, True, True), Codes(8)),
    "int4w": Scheme(Codes(4, True, True), Codes(8)),
    "int16": Scheme(Codes(16, True, True), Codes(16)),
    "log4w": Scheme(Codes(4), Codes(8), logarithmic=True),
    "fp16": Scheme(half=True),
    "float": Scheme(),
}
"""The schemes by name."""

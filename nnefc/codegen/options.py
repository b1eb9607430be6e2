"""How a network is to be compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnefc.codegen.target import Target

OPTIMIZE = ("speed", "size")
"""What a network can be compiled for."""
WEIGHTS = ("stored", "f32", "f16", "bf16")
"""The types in which weights can be kept; ``stored`` is f16 for those that the network stores so, else f32."""
PRECISION = ("f32", "f16", "bf16")
"""What a network can be computed in: f32; f32 with its weights and what its layers hand on held in f16; f32 with
products by constant weights of numbers rounded to bf16. Sums are in f32 always."""
EXECUTION = "integer"
"""How quantized networks are computed where nothing else is said."""


@dataclass(frozen=True)
class Options:
    """What :func:`nnefc.compile` takes beside the network, which says what each means. Raises ValueError for what is
    not known; ``execution`` is looked at where it is used."""

    threads: int | None = None
    target: str = "host"
    taps: Sequence[str] = ()
    fast_math: bool = False
    tune: bool = False
    optimize: str = OPTIMIZE[0]
    weights: str = WEIGHTS[0]
    precision: str = PRECISION[0]
    execution: str = EXECUTION

    def __post_init__(self) -> None:
        for name, known in (("optimize", OPTIMIZE), ("weights", WEIGHTS), ("precision", PRECISION)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it may be {' or '.join(known)}")

    @property
    def small(self) -> bool:
        """Whether weights may take no more room than the network's own."""
        return self.optimize == "size"

    @cached_property
    def cpu(self) -> Target:
        """What code is made for. Raises UnsupportedError."""
        from nnefc.codegen.target import Target

        return replace(Target.parse(self.target), fast_math=self.fast_math)

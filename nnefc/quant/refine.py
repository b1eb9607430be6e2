"""Quantization with better weights: what each remedy does, and in which order they go together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

from nnefc.ir.graph import Graph
from nnefc.progress import bar
from nnefc.quant.calibration import Calibration
from nnefc.quant.coding import largest_scales
from nnefc.quant.correct import corrected
from nnefc.quant.equalize import equalize
from nnefc.quant.quantize import Codings, Quantization, encoded, placed
from nnefc.quant.recipe import Recipe
from nnefc.quant.round import adaround
from nnefc.quant.runs import Arrays
from nnefc.quant.weights import mse_scales


@dataclass(frozen=True)
class Refinement:
    """Remedies: ``equalize`` the channels of neighbouring layers, find scales of weights by the least squared error
    (``mse``), learn whether weights are rounded up or down (``adaround``), ``correct`` biases. Done in this order."""

    equalize: bool = False
    mse: bool = False
    adaround: bool = False
    correct: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What is asked for, for people."""
        return tuple(said for name, said in TITLES.items() if getattr(self, name))

    def __str__(self) -> str:
        return " + ".join(self.names) or "plain"


NAMES = tuple(f.name for f in fields(Refinement))
"""The remedies by name."""
TITLES = dict(zip(NAMES, ("equalize", "mse weights", "adaround", "correct bias"), strict=True))
"""What the remedies are called where methods are named beside them, one of which is ``mse`` too."""
Observe = Callable[[Graph], Calibration]
"""Gives the calibration of a prepared graph."""


def refined(
    graph: Graph,
    recipe: Recipe,
    refinement: Refinement,
    observe: Observe,
    samples: Iterable[Arrays],
    *,
    threads: int | None = None,
    execution: str = "integer",
) -> tuple[Graph, Quantization]:
    """A prepared graph with encodings, as :func:`nnefc.quant.quantized` makes it, and with remedies; and the network
    with real numbers behind it, which is the prepared graph, or equalized.

    ``observe`` is asked for the calibration of that graph, but where nothing else than weights is coded. ``samples``
    are what rounding learns from, read once for each layer, and, an excerpt of them, biases, from the network compiled
    for ``execution``."""
    real = equalize(graph) if refinement.equalize else graph
    settings = recipe.settings(real)
    placement = placed(real, settings)
    statistics = observe(real).tensors if placement.groups else {}
    made = encoded(real, placement, settings, Codings(statistics, mse_scales if refinement.mse else largest_scales))
    coded = made.graph
    if refinement.adaround:
        with bar("rounding") as report:
            coded = adaround(real, coded, samples, progress=report, threads=threads, execution=execution)
    if refinement.correct:
        coded = corrected(real, coded, samples, threads=threads, execution=execution)
    return real, replace(made, graph=coded)

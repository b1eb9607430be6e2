"""Networks of mixed precision, made of a quantized one: what stays as it is keeps its codes and corrected biases."""

from __future__ import annotations

from collections.abc import Mapping

from nnefc.ir.graph import Graph, Tensor, Value
from nnefc.quant.coding import largest_scales
from nnefc.quant.histogram import Statistics
from nnefc.quant.layers import Layer, layers, retyped, values_of, with_values
from nnefc.quant.quantize import Codings, encoded, placed
from nnefc.quant.recipe import Recipe
from nnefc.quant.scheme import SCHEMES
from nnefc.quant.search import Choice, recipe_for
from nnefc.quant.weights import mse_scales


class Mixed:
    """Makes networks in which some layers have other schemes than in ``base``, which was made of ``real`` by a recipe.

    ``statistics`` are those of the tensors of ``real``; with ``mse`` new scales of weights are of the least error."""

    def __init__(self, real: Graph, base: Graph, recipe: Recipe, statistics: Mapping[str, Statistics], mse: bool):
        self.real, self.base, self.recipe = real, base, recipe
        self.codings = Codings(statistics, mse_scales if mse else largest_scales)
        self.scheme = next((n for n, s in SCHEMES.items() if s == recipe.default.scheme), "quantized")
        self._layers = {layer.name: layer for layer in layers(real)}
        self._coded = {layer.name: layer for layer in layers(base)}
        self._bare = self._without_codes()

    def is_coded(self, layer: Layer) -> bool:
        """Whether the weights of a layer of ``real`` are codes in ``base``."""
        found = self._coded.get(layer.name)
        return found is not None and found.weights.output.type.encoding is not None

    def graph(self, choice: Choice) -> Graph:
        """The network in which the layers of a choice have their schemes."""
        if not choice:
            return self.base
        bare = self._with_real_biases([name for name, scheme in choice.items() if SCHEMES[scheme].weights is None])
        settings = recipe_for(choice, self.recipe).settings(bare)
        made = encoded(bare, placed(bare, settings), settings, self.codings).graph
        kept = {}
        for op in made.ops:
            if op.kind == "variable" and op.output.type.encoding is not None:
                before = self.base.values.get(op.output.name)
                if before is not None and before.type.encoding == op.output.type.encoding:
                    label = op.attrs["label"]
                    kept[label] = self.base.tensors[label]
        tensors: dict[str, Tensor] = {**made.tensors, **kept}
        return made.replace(tensors=tensors)

    def _without_codes(self) -> Graph:
        """``base`` with the weights of ``real``, and no encodings: biases are the corrected ones."""
        weights = {
            v.name: values_of(self.real, self.real.producers[v.name])
            for v in self.base.values.values()
            if v.type.encoding is not None and v.name in self.base.producers
            if self.base.producers[v.name].kind == "variable"
        }
        graph = with_values(self.base, weights)

        def plain(values: tuple[Value, ...]) -> tuple[Value, ...]:
            return tuple(Value(v.name, v.type.with_encoding(None)) for v in values)

        ops = tuple(op.replace(outputs=plain(op.outputs)) for op in graph.ops)
        return retyped(graph.replace(inputs=plain(graph.inputs), ops=ops))

    def _with_real_biases(self, names: list[str]) -> Graph:
        """The bare graph with the uncorrected biases of layers that have one in ``real``."""
        biases = {}
        for name in names:
            bias = self._layers[name].bias
            if bias is not None:
                biases[bias.output.name] = values_of(self.real, bias)
        return with_values(self._bare, biases)

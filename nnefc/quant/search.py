"""Mixed precision: which layers are coded how, what that gives, and which choices no other beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from nnefc.quant.recipe import Recipe, Rule, setting_of

Choice = Mapping[str, str]
"""The scheme of each layer that does not have the study's own, by name."""


@dataclass(frozen=True)
class Candidate:
    """A network that was tried. ``choice`` says which layers differ from the study's scheme, ``bytes`` how much the
    parameters take."""

    name: str
    choice: tuple[tuple[str, str], ...]
    metric: float
    snr: float
    bytes: int


def recipe_for(choice: Choice, base: Recipe) -> Recipe:
    """The recipe in which the layers of a choice have their schemes, and all else is as ``base`` says."""
    rules = [Rule(name, setting_of({"scheme": scheme}, base.default), "name") for name, scheme in choice.items()]
    return Recipe(base.default, (*rules, *base.rules), base.only)


def title(choice: Choice, scheme: str) -> str:
    """A name for the network of a choice."""
    if not choice:
        return scheme
    by_scheme: dict[str, list[str]] = {}
    for name, kind in choice.items():
        by_scheme.setdefault(kind, []).append(name)
    return "; ".join(f"{kind}: {', '.join(names)}" for kind, names in by_scheme.items())


def singles(layers: Sequence[str], schemes: Sequence[str]) -> list[dict[str, str]]:
    """Every choice that differs in one layer."""
    return [{name: scheme} for scheme in schemes for name in layers]


def combinations(
    ranked: Sequence[tuple[str, str]], layers: Sequence[str], schemes: Sequence[str], most: int
) -> Iterator[dict[str, str]]:
    """Choices that differ in more than one layer: all of them if there are at most ``most``, else those that take the
    ``ranked`` (layer, scheme) together one after another, at most ``most`` of them, evenly from all."""
    every = (len(schemes) + 1) ** len(layers) - 1 - len(layers) * len(schemes)
    if every <= most:
        for chosen in product((None, *schemes), repeat=len(layers)):
            choice = {name: s for name, s in zip(layers, chosen, strict=True) if s is not None}
            if len(choice) > 1:
                yield choice
        return
    nested: dict[str, str] = {}
    steps = []
    for name, scheme in ranked:
        if name not in nested:
            nested = {**nested, name: scheme}
            steps.append(nested)
    steps = steps[1:]
    for k in sorted({round(i * (len(steps) - 1) / max(1, most - 1)) for i in range(min(most, len(steps)))}):
        yield dict(sorted(steps[k].items(), key=lambda item: layers.index(item[0])))


def front(points: Mapping[str, tuple[float, float, float]]) -> list[str]:
    """The names of points (metric, seconds, bytes) that no other is at least as good as in all three and better in one:
    by falling metric."""
    kept = [name for name, p in points.items() if not any(_beats(q, p) for q in points.values())]
    return sorted(kept, key=lambda name: (-points[name][0], points[name][1], name))


def _beats(q: tuple[float, float, float], p: tuple[float, float, float]) -> bool:
    return q != p and q[0] >= p[0] and q[1] <= p[1] and q[2] <= p[2]


def chosen(points: Mapping[str, tuple[float, float, float]], least: float) -> str:
    """The fastest point whose metric is ``least`` or more; where none is, that of the greatest metric."""
    good = [name for name, p in points.items() if p[0] >= least]
    if good:
        return min(good, key=lambda name: (points[name][1], points[name][2], name))
    return max(points, key=lambda name: (points[name][0], -points[name][1]))

"""What lies around a padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nnefc.ir.broadcast import replace_stride
from nnefc.ir.view import View

if TYPE_CHECKING:
    from nnefc.ir.build import ProgramBuilder


def fill_border(
    b: ProgramBuilder,
    out: View,
    axis: int,
    extent: int,
    mode: str,
    value: float | int | bool,
    grow: Sequence[tuple[int, int]],
) -> None:
    """Fill the two strips of ``axis``: whole in earlier dimensions, inner in later ones."""
    band = out
    before, after = grow[axis]
    for d, (p, q) in enumerate(grow):
        if d > axis:
            band = band.slice(d, p, out.shape[d] - p - q)
    # Ends of the outermost dimension are one view like others: steps of every dimension divide those further out.
    outermost = all(n == 1 or abs(s) <= abs(band.strides[axis]) for n, s in zip(band.shape, band.strides, strict=True))
    if mode == "constant" and before == after > 0 and outermost:
        b.fill(_both_ends(band, axis, before), value)
        return
    for count, start, step in ((before, before - 1, -1), (after, before + extent, 1)):
        filled = 0
        while filled < count:
            # Reflections longer than the tensor read what was filled before, in pieces of its extent.
            known = extent + filled if mode.startswith("reflect") else extent
            period = max(known - (mode == "reflect"), 1)
            piece = min(count - filled, period) if mode.startswith("reflect") else count
            first = start + step * filled
            target = band.slice(axis, first, piece, step)
            if mode == "constant":
                b.fill(target, value)
            elif mode == "replicate":
                b.copy(replace_stride(band.slice(axis, first - step, 1), axis, piece), target)
            else:
                skip = 1 if mode == "reflect" and known > 1 else 0
                b.copy(band.slice(axis, first - step * (1 + skip), piece, -step), target)
            filled += piece


def _both_ends(view: View, axis: int, count: int) -> View:
    """The first and the last ``count`` elements of a dimension, as two dimensions."""
    step = view.strides[axis]
    return replace(
        view,
        shape=(*view.shape[:axis], 2, count, *view.shape[axis + 1 :]),
        strides=(*view.strides[:axis], (view.shape[axis] - count) * step, step, *view.strides[axis + 1 :]),
    )

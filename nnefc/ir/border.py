"""What lies around a padded tensor."""

from __future__ import annotations

from collections.abc import Sequence
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

"""Scales of symmetric weight codes by the least squared error."""

from __future__ import annotations

import numpy as np

from nnefc.ops.elementwise import round_array
from nnefc.quant.coding import usable_scales
from nnefc.quant.ranges import Codes

COARSE, FINE = 16, 6
SMALLEST = 0.2
"""Scales are tried from this part of what the largest magnitude asks for up to all of it: so many, evenly, then so many
on each side of the best."""
_CHUNK = 1 << 16


def mse_scales(weights: np.ndarray, axis: int | None, codes: Codes) -> np.ndarray:
    """Scales for the channels of ``axis`` (None: one for all) with which the sum of squared errors of each is least."""
    rows = weights.reshape(1, -1) if axis is None else np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    return usable_scales(least_error_scales(rows, codes.limits[1]))


def least_error_scales(rows: np.ndarray, high: int) -> np.ndarray:
    """A scale, f32, for each row of weights (channels, n), whose codes are to be -``high``..``high``: that with which
    the sum of squared errors is least, cutting off the few weights that would make all others coarse.

    A row of zeros has the scale 0."""
    full = (np.abs(rows).max(1, initial=0.0).astype(np.float64) / high).astype(np.float32)
    # A subnormal scale has no reciprocal.
    used = np.flatnonzero(full >= np.finfo(np.float32).tiny)
    found = np.zeros_like(full)
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    for i in range(0, len(used), step):
        part = used[i : i + step]
        found[part] = _best(rows[part], full[part], high)
    return found


def coded(rows: np.ndarray, scale: np.ndarray, high: int) -> np.ndarray:
    """The nearest codes, as floats: rounded as NNEF does (halves up) and cut off."""
    return np.clip(round_array(rows / scale[:, None]), -high, high)


def _errors(rows: np.ndarray, scale: np.ndarray, high: int) -> np.ndarray:
    """The sum of squared errors of each row; how halves are rounded does not matter to it."""
    apart = rows / scale[:, None]
    np.rint(apart, out=apart)
    np.clip(apart, -high, high, out=apart)
    apart *= scale[:, None]
    apart -= rows
    return np.einsum("ij,ij->i", apart, apart)


def _best(rows: np.ndarray, full: np.ndarray, high: int) -> np.ndarray:
    rows = rows.astype(np.float32)
    best, least = full.copy(), _errors(rows, full, high)
    gap = (1 - SMALLEST) / COARSE
    offsets = [np.full(len(rows), -gap * k, np.float32) for k in range(1, COARSE + 1)]
    centre = np.ones(len(rows), np.float32)
    for rounds in range(2):
        for offset in offsets:
            candidate = full * (centre + offset)
            error = _errors(rows, candidate, high)
            better = error < least
            best, least = np.where(better, candidate, best), np.where(better, error, least)
        if rounds == 0:
            centre = best / full
            around = [k * gap / (FINE + 1) for k in range(-FINE, FINE + 1) if k]
            offsets = [np.full(len(rows), o, np.float32) for o in around]
    return best.astype(np.float32)

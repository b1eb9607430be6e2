"""Cases of windows, convolutions, resampling and regions in which an interpreter of Khronos is no oracle, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from op_cases import Case

from nnefc.ops.contract import convolution, deconvolution
from nnefc.ops.geometry import Axes
from nnefc.ops.window import pool_axes


@dataclass(frozen=True)
class Known:
    """Cases in which an interpreter of Khronos is not what we compare with."""

    oracle: str
    kinds: str
    applies: Callable[[Case], bool]
    reason: str

    def covers(self, name: str, case: Case) -> bool:
        """Whether the entry is about this case under this interpreter."""
        return name == self.oracle and case.kind in self.kinds.split() and self.applies(case)


def everything(case: Case) -> bool:
    """Every case of the entry's kinds."""
    return True


def _shape(case: Case) -> tuple[int, ...]:
    return np.shape(case.operands[0])


def _axes(case: Case) -> Axes:
    """The windows, where they move over the input or, for deconv, the output."""
    attrs = case.graph().ops[0].attrs
    if case.kind.endswith("conv"):
        extents = deconvolution if case.kind == "deconv" else convolution
        return extents(_shape(case), np.shape(case.operands[1]), attrs).axes
    return pool_axes(_shape(case), attrs)


def _border_but(*names: str) -> Callable[[Case], bool]:
    return lambda case: case.attrs.get("border", "constant") not in names


def _reflects(case: Case) -> bool:
    """Whether torch cannot reflect so far: 'reflect' less than the extent, 'reflect-even' one element."""
    border = case.attrs.get("border")
    limits = {"reflect": lambda extent: extent - 1, "reflect-even": lambda extent: 1}
    return border in limits and any(max(a.before, a.after) > limits[border](a.upscaled) for a in _axes(case))


def _active(case: Case) -> int:
    """In how many dimensions there is anything but a window of one element that moves by one."""
    return sum((a.size, a.before, a.after, a.stride, a.dilation) != (1, 0, 0, 1, 1) for a in _axes(case))


def _empty_average(case: Case) -> bool:
    averages = case.attrs.get("normalize", True) and case.attrs.get("border") == "ignore"
    return averages and any(a.valid_counts().min() == 0 for a in _axes(case))


def _beyond_spatial(case: Case) -> bool:
    """Whether the rank is not 3 to 5, or anything happens in the first two dimensions."""
    neutral = {"size": (1, 1), "stride": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}
    return not 3 <= len(_shape(case)) <= 5 or any(tuple(case.attrs.get(k, v)[:2]) != v for k, v in neutral.items())


def _dilates(case: Case) -> bool:
    return any(d != 1 for d in case.attrs.get("dilation", ()))


def _single_bias(case: Case) -> bool:
    """Whether a bias of one number has a rank of 1 or 2 and meets several channels."""
    bias, channels = case.operands[-1], case.graph().outputs[0].type.extents[1]
    return np.size(bias) == 1 and np.ndim(bias) > 0 and channels != 1


def _bare_outputs(case: Case) -> bool:
    """Whether the output begins before the first window, or ends after the last."""
    shape, attrs = list(_shape(case)), case.graph().ops[0].attrs
    if case.kind == "separable_deconv":
        shape[1], attrs = np.shape(case.operands[1])[0], attrs.updated(groups=0)
    axes = deconvolution(shape, np.shape(case.operands[1]), attrs).axes
    return any(a.before < 0 or (a.downscaled - 1) * a.stride + a.span - a.upscaled < a.before for a in axes)


def _far_replication(case: Case) -> bool:
    return case.attrs.get("border") == "replicate" and any(max(a.reverse_reach) > 1 for a in _axes(case))


def _broadcasts(case: Case) -> bool:
    a, b = (np.shape(o)[:-2] for o in case.operands)
    return a != b


def _factors_but_two(case: Case) -> bool:
    return any(f != 2 for f in case.attrs["factor"]) or len(case.attrs["factor"]) > 2


_ROI = "avg_roi_pool max_roi_pool roi_resample avg_roi_align max_roi_align"
_AVERAGES = "box avg_pool rms_pool"

WINDOWS = (
    Known("cpp", "conv deconv", _border_but("constant"), "border 'constant' only"),
    Known(
        "cpp", f"{_AVERAGES} max_pool debox", _border_but("constant", "ignore"), "borders 'constant' and 'ignore' only"
    ),
    Known("cpp", _AVERAGES, _empty_average, "divides 0 by 0 where a window holds no element"),
    Known("cpp", "debox", lambda c: c.attrs["normalize"], "normalizes its input, after the sum"),
    Known("cpp", f"argmax_pool max_pool_with_index sample desample {_ROI}", everything, "not implemented"),
    Known("cpp", "linear", lambda c: np.ndim(c.operands[2]) == 1, "reads outside a bias of rank 1"),
    Known("cpp", "linear", _single_bias, "wants a bias of one number without rank"),
    Known("cpp", "matmul", _broadcasts, "reads wrong elements where batch dimensions broadcast"),
    Known("cpp", "multilinear_upsample", _factors_but_two, "factors 2, and at most two spatial dimensions"),
    Known("cpp", "multilinear_upsample", lambda c: c.attrs["method"] == "aligned", "no method 'aligned'"),
    Known(
        "cpp", "multilinear_upsample", _border_but("constant", "replicate"), "borders 'constant' and 'replicate' only"
    ),
    Known("torch", f"conv {_AVERAGES} max_pool", _reflects, "reflects less far"),
    Known("torch", "deconv", _border_but("constant", "replicate"), "borders 'constant' and 'replicate' only"),
    Known("torch", "deconv", _far_replication, "replicates one element only"),
    Known("torch", "deconv separable_deconv", _bare_outputs, "adds no bias where no window reaches"),
    Known("torch", "deconv separable_deconv", _single_bias, "wants a bias of one number without rank"),
    Known("torch", f"{_AVERAGES} max_pool", lambda c: _active(c) > 3, "windows in at most three dimensions"),
    Known("torch", _AVERAGES, _dilates, "no dilation"),
    Known("torch", "debox", _beyond_spatial, "ranks 3 to 5, spatial dimensions only"),
    Known("torch", "debox", _border_but("constant", "ignore"), "borders 'constant' and 'ignore' only"),
    Known("torch", "argmax_pool max_pool_with_index desample", everything, "indices count in the whole spatial plane"),
    Known("torch", f"sample {_ROI}", everything, "not implemented"),
    Known(
        "torch",
        "multilinear_upsample",
        lambda c: len(c.attrs["factor"]) > 2,
        "at most two spatial dimensions",
    ),
    Known(
        "torch",
        "multilinear_upsample",
        lambda c: (
            c.attrs["method"] != "aligned" and (c.attrs["method"], c.attrs["border"]) != ("symmetric", "replicate")
        ),
        "fails with NumPy 2",
    ),
)

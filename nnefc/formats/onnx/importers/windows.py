"""The window attributes that convolutions and pools share: kernel_shape, strides, dilations, pads and auto_pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnefc.formats.onnx.registry import Node
from nnefc.ops.primitive import require

Padding = tuple[int, int]

_AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass(frozen=True)
class Windows:
    """The windows of an operation, one item per spatial dimension. ``pads`` is (before, after), as the file has it."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[Padding, ...]
    auto: str
    ceil: bool

    @property
    def spans(self) -> tuple[int, ...]:
        """How many elements each window covers."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilations, strict=True))

    def padding(self, extents: Sequence[int]) -> list[Padding]:
        """The padding of each dimension of an input of ``extents``, automatic or given."""
        if self.auto == "VALID":
            return [(0, 0)] * len(self.size)
        if self.auto == "NOTSET":
            return list(self.pads)
        result = []
        for extent, span, stride in zip(extents, self.spans, self.strides, strict=True):
            total = max((-(-extent // stride) - 1) * stride + span - extent, 0)
            result.append(halves(total, self.auto))
        return result

    def grown(self, extents: Sequence[int], pads: Sequence[Padding]) -> list[Padding]:
        """``pads`` with what ``ceil_mode`` adds at the end for the last, partial window.

        A window that would start beyond the input and the padding before it does not count."""
        if not self.ceil:
            return list(pads)
        result = []
        for n, (p, q), span, stride in zip(extents, pads, self.spans, self.strides, strict=True):
            count = -(-(n + p + q - span) // stride) + 1
            if (count - 1) * stride >= n + p:
                count -= 1
            result.append((p, max(q, (count - 1) * stride + span - n - p)))
        return result


def halves(total: int, auto: str) -> Padding:
    """A total padding split in two; SAME_UPPER puts the odd element last, SAME_LOWER first."""
    small = total // 2
    return (small, total - small) if auto == "SAME_UPPER" else (total - small, small)


def windows(n: Node, spatial: int, kernel: Sequence[int] | None = None) -> Windows:
    """The window attributes of a node over ``spatial`` dimensions; ``kernel`` is the default of kernel_shape.

    Raises InvalidModelError on wrong lengths, negative pads and items that are not positive."""
    require(spatial > 0, f"the input has {spatial + 2} dimensions; it must have a spatial one, the third")
    ones = (1,) * spatial
    size = _integers(n, "kernel_shape", spatial, kernel, 1)
    require(kernel is None or size == tuple(kernel), f"kernel_shape is {list(size)} but the filter has {kernel}")
    pads = _integers(n, "pads", 2 * spatial, (0,) * (2 * spatial), 0)
    auto = str(n.attrs.get("auto_pad") or "NOTSET")
    require(auto in _AUTO, f"auto_pad = {auto!r} is unknown; it must be one of {', '.join(_AUTO)}")
    return Windows(
        size,
        _integers(n, "strides", spatial, ones, 1),
        _integers(n, "dilations", spatial, ones, 1),
        tuple(zip(pads[:spatial], pads[spatial:], strict=True)),
        auto,
        bool(n.attrs.get("ceil_mode", 0)),
    )


def _integers(n: Node, name: str, count: int, default: Sequence[int] | None, least: int) -> tuple[int, ...]:
    value = n.attrs.get(name)
    if value is None or (len(value) == 0 and default is not None):
        value = default
    require(value is not None, f"the attribute {name} is missing")
    items = tuple(int(v) for v in value or ())
    require(len(items) == count, f"{name} has {len(items)} items; it must have {count}")
    require(all(least <= i < 2**31 for i in items), f"{name} = {list(items)} has an item out of range")
    return items

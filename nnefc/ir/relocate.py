"""Views of a tensor that has been copied, as views of the copy."""

from __future__ import annotations

from dataclasses import dataclass

from nnefc.ir.view import View


@dataclass(frozen=True)
class _Digit:
    """One loop over a copy: its extent, and the strides of source and target."""

    extent: int
    source: int
    target: int


class Relocation:
    """What a copy of ``source`` to ``target``, of one shape, says about other views of the source's buffer.

    The source's strides are a number system: an element is found by its digits. ``valid`` is False where they are none
    (repeated or interleaved elements), and then no view is relocated.
    """

    def __init__(self, source: View, target: View):
        self._source, self._target = source, target
        self._known: dict[tuple[int, tuple[int, ...], tuple[int, ...]], View | None] = {}
        loops = zip(source.shape, source.strides, target.strides, strict=True)
        self._digits = _merged(sorted((_Digit(n, s, t) for n, s, t in loops if n > 1), key=lambda d: -d.source))
        lowest = 1
        for digit in reversed(self._digits):
            if digit.source < lowest:
                self.valid = False
                return
            lowest = digit.source * digit.extent
        self.valid = True

    def __call__(self, view: View) -> View | None:
        """The view of the target's buffer that reaches, for each index, the copy of what ``view`` reaches; None where
        strides cannot say it or ``view`` reaches beyond the source."""
        key = view.offset, view.shape, view.strides
        if key not in self._known:
            self._known[key] = self._relocated(view) if self.valid and view.volume else None
        return self._known[key]

    def _relocated(self, view: View) -> View | None:
        rest, places = view.offset - self._source.offset, []
        for digit in self._digits:
            place, rest = divmod(rest, digit.source)
            places.append(place)
        if rest:
            return None
        low, high = list(places), list(places)
        strides = []
        for extent, stride in zip(view.shape, view.strides, strict=True):
            step = self._step(extent, stride)
            if step is None:
                return None
            k, times = step
            strides.append(times * self._digits[k].target if times else 0)
            if times:
                low[k] += min(0, times * (extent - 1))
                high[k] += max(0, times * (extent - 1))
        if any(a < 0 or b >= d.extent for a, b, d in zip(low, high, self._digits, strict=True)):
            return None
        offset = self._target.offset + sum(p * d.target for p, d in zip(places, self._digits, strict=True))
        return View(self._target.buffer, offset, view.shape, tuple(strides))

    def digits(self, extent: int, stride: int) -> tuple[int, ...]:
        """The extents, outermost first, into which a dimension must be split to step one digit each."""
        parts: list[int] = []
        for digit in reversed(self._digits):
            if extent > 1 and digit.source == stride:
                part = digit.extent if extent % digit.extent == 0 else extent
                parts.append(part)
                extent, stride = extent // part, stride * part
        return tuple(reversed(parts)) if extent == 1 and parts else (extent,)

    def _step(self, extent: int, stride: int) -> tuple[int, int] | None:
        """Which digit a dimension steps, and by how much."""
        if extent == 1 or stride == 0:
            return 0, 0
        for k, digit in enumerate(self._digits):
            if digit.source <= abs(stride):
                return None if stride % digit.source else (k, stride // digit.source)
        return None


def _merged(digits: list[_Digit]) -> list[_Digit]:
    """Digits of which every neighbour moves evenly through source and target as one."""
    result: list[_Digit] = []
    for d in digits:
        last = result[-1] if result else None
        if last and last.source == d.source * d.extent and last.target == d.target * d.extent:
            result[-1] = _Digit(last.extent * d.extent, d.source, d.target)
        else:
            result.append(d)
    return result


def disjoint(a: View, b: View) -> bool:
    """Whether two views surely share no element: in some digit of the number system of their strides they are apart."""
    if a.buffer != b.buffer or not a.volume or not b.volume:
        return True
    (low, high), (other_low, other_high) = a.span, b.span
    if high <= other_low or other_high <= low:
        return True
    strides = {abs(s) for v in (a, b) for n, s in zip(v.shape, v.strides, strict=True) if n > 1 and s}
    units = sorted(strides, reverse=True)
    if any(u % w for u, w in zip(units, units[1:], strict=False)):
        return False
    first, second = _digit_ranges(a, units), _digit_ranges(b, units)
    if first is None or second is None:
        return False
    return any(p[1] < q[0] or q[1] < p[0] for p, q in zip(first, second, strict=True))


def _digit_ranges(view: View, units: list[int]) -> list[tuple[int, int]] | None:
    """The least and the largest value of every digit in the system of ``units`` (each divides the one before; the last
    digit is what remains); None where a digit carries."""
    rest, ranges = view.offset, []
    for u in units:
        place, rest = divmod(rest, u)
        low = high = place
        for n, s in zip(view.shape, view.strides, strict=True):
            if n > 1 and abs(s) == u:
                low, high = low + min(0, (n - 1) * (s // u)), high + max(0, (n - 1) * (s // u))
        ranges.append((low, high))
    for (low, high), above, u in zip(ranges[1:], units, units[1:], strict=False):
        if low < 0 or high >= above // u:
            return None
    return [*ranges, (rest, rest)]

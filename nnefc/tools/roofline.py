"""A profile as a picture: the roofline (Williams, Waterman and Patterson, 2009), as SVG and on a page of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from importlib import resources

from nnefc.ir.types import DType
from nnefc.tools.machine import machine_text
from nnefc.tools.page import page as report_page
from nnefc.tools.profile import Kernel, Profile
from nnefc.tools.svg import COLOURS, line, start, text

WIDTH, HEIGHT = 960, 600
LEFT, RIGHT, TOP, BOTTOM = 76, 28, 64, 64
SMALLEST, LARGEST = 3.5, 40.0
"""Radii of points, of the smallest and of one that takes all the time: areas go by share of time."""


class _Scale:
    """From numbers between ``least`` and ``most`` to places along an axis, by logarithm."""

    def __init__(self, least: float, most: float, start: float, end: float):
        self.least, self.most, self.start, self.end = least, most, start, end

    def __call__(self, value: float) -> float:
        part = math.log(value / self.least) / math.log(self.most / self.least)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> Iterator[tuple[int, float]]:
        """First digit and value of every number with one digit that is not 0."""
        for decade in range(math.floor(math.log10(self.least)), math.ceil(math.log10(self.most))):
            for digit in range(1, 10):
                value = float(f"{digit}e{decade}")
                if self.least <= value <= self.most:
                    yield digit, value


def colours(profile: Profile) -> dict[str, str]:
    """A colour for each family of kernels, those that take most time first."""
    time: dict[str, float] = {}
    for kernel in profile.kernels:
        time[kernel.family] = time.get(kernel.family, 0.0) + kernel.seconds
    ranked = sorted(time, key=lambda f: -time[f])
    return {f: COLOURS[min(i, len(COLOURS) - 1)] for i, f in enumerate(ranked)}


def svg(profile: Profile) -> str:
    """The roofline plot. What computes nothing has no place on it and is counted below."""
    shown = [(i, k) for i, k in enumerate(profile.kernels) if k.cost.flops and k.seconds > 0]
    peaks = profile.peaks
    roofs = [rate for _, rate in flat_roofs(profile)]
    ridges = [rate / level.bandwidth for level in peaks.levels for rate in roofs]
    across = [k.intensity for _, k in shown] + ridges
    up = [k.gflops for _, k in shown] + roofs
    x = _Scale(max(min(across), max(ridges) * 1e-4) / 2, max(across) * 2, LEFT, WIDTH - RIGHT)
    y = _Scale(max(min(up), max(roofs) * 1e-4) / 2, max(up) * 1.6, HEIGHT - BOTTOM, TOP)
    parts = [
        start(WIDTH, HEIGHT, f"Roofline of {profile.name}"),
        text(LEFT, 26, f"{profile.name}: {profile.seconds * 1e3:.3g} ms a call", size=17),
        text(LEFT, 46, f"{profile.machine['cpu']}, {_threads(peaks.threads)}; areas go by share of time", "#666"),
        *_axes(x, y),
        *_roofs(profile, x, y),
        *(_point(i, k, profile, x, y) for i, k in sorted(shown, key=lambda pair: -pair[1].seconds)),
        *_legend(profile, len(profile.kernels) - len(shown)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _threads(count: int) -> str:
    return f"{count} threads" if count > 1 else "1 thread"


def _axes(x: _Scale, y: _Scale) -> Iterator[str]:
    """Lines at every power of ten, fainter ones in between, and what the axes mean."""
    bottom, top = y.start, y.end
    for scale, vertical in ((x, True), (y, False)):
        labelled = (1, 2, 5) if scale.most / scale.least < 3000 else (1,)
        for digit, value in scale.ticks():
            at = scale(value)
            ends = (at, bottom, at, top) if vertical else (x.start, at, x.end, at)
            yield line(*ends, f'stroke="{"#ccc" if digit == 1 else "#eee"}"')
            if digit in labelled and vertical:
                yield text(at, bottom + 20, f"{value:g}", anchor="middle")
            elif digit in labelled:
                yield text(x.start - 8, at + 4, f"{value:g}", anchor="end")
    yield f'<path d="M{x.start},{top}V{bottom}H{x.end}" fill="none" stroke="#888"/>'
    yield text((x.start + x.end) / 2, HEIGHT - 18, "arithmetic intensity, FLOP per byte", anchor="middle", size=14)
    middle = (bottom + top) / 2
    turn = f'transform="rotate(-90 20 {middle:.1f})"'
    yield text(20, middle, "performance, GFLOP/s", anchor="middle", size=14, more=turn)


def _roofs(profile: Profile, x: _Scale, y: _Scale) -> Iterator[str]:
    """A slope for each level of memory, up to its ridges, and the flat roofs of the arithmetic."""
    roofs, dashes = flat_roofs(profile), ("", "7 4", "3 3", "10 3 2 3")
    top = max(rate for _, rate in roofs)
    for level, dash in zip(profile.peaks.levels, dashes, strict=False):
        first = max(x.least, y.least / level.bandwidth)
        low = (x(first), y(first * level.bandwidth))
        high = (x(top / level.bandwidth), y(top))
        yield line(*low, *high, f'stroke="#333" stroke-width="1.6" stroke-dasharray="{dash}"')
        for _, rate in roofs:
            ridge = rate / level.bandwidth
            yield (
                f'<circle cx="{x(ridge):.1f}" cy="{y(rate):.1f}" r="3" fill="#333"><title>ridge of {level.name}: '
                f"{ridge:.3g} FLOP per byte</title></circle>"
            )
        angle = math.degrees(math.atan2(high[1] - low[1], high[0] - low[0]))
        yield text(
            *low,
            f"{level.name} {level.bandwidth:.0f} GB/s",
            "#333",
            size=12,
            more=f'dx="10" dy="-5" transform="rotate({angle:.1f} {low[0]:.1f} {low[1]:.1f})"',
        )
    nearest = max(level.bandwidth for level in profile.peaks.levels)
    for said, rate in roofs:
        yield line(x(rate / nearest), y(rate), x.end, y(rate), 'stroke="#333" stroke-width="1.6"')
        yield text(x.end - 4, y(rate) - 7, said.format(rate), "#333", "end", 12)


def flat_roofs(profile: Profile) -> list[tuple[str, float]]:
    """The peak of floats and those of other kinds that kernels of the profile have, each with how it is written."""
    texts = {
        "f32": "peak {:.0f} GFLOP/s",
        "u8": "peak of 8-bit codes {:.0f} GOP/s",
        "bf16": "peak of bf16 pairs {:.0f} GFLOP/s",
    }
    kinds = {"f32", *(k.kind for k in profile.kernels)}
    return [(said, profile.peaks.rate(DType(kind))) for kind, said in texts.items() if kind in kinds]


def _point(index: int, kernel: Kernel, profile: Profile, x: _Scale, y: _Scale) -> str:
    share = kernel.seconds / profile.kernel_seconds
    radius = max(SMALLEST, LARGEST * math.sqrt(share))
    said = (
        f"{kernel.title}\n{kernel.kernel}, {list(kernel.shape)}\n{kernel.seconds * 1e6:.1f} us, {share:.1%} of the time"
        f"\n{kernel.gflops:.1f} GFLOP/s, {kernel.bandwidth:.1f} GB/s, {kernel.intensity:.3g} FLOP per byte"
        f"\n{kernel.limit / kernel.seconds:.0%} of what is possible"
    )
    place = f'cx="{x(max(kernel.intensity, x.least)):.1f}" cy="{y(max(kernel.gflops, y.least)):.1f}" r="{radius:.1f}"'
    colour = colours(profile)[kernel.family]
    style = f'fill="{colour}" fill-opacity="0.45" stroke="{colour}"'
    return f'<circle class="kernel" data-row="{index}" {place} {style}><title>{escape(said)}</title></circle>'


def _legend(profile: Profile, silent: int) -> Iterator[str]:
    """Families by colour with their share of the time, in the corner where slow kernels of much arithmetic would be."""
    right, at = WIDTH - RIGHT - 14, HEIGHT - BOTTOM - 14
    if silent:
        yield text(right, at, f"without arithmetic, not shown: {silent}", "#666", "end", 12)
        at -= 22
    for family, colour in reversed(colours(profile).items()):
        share = sum(k.seconds for k in profile.kernels if k.family == family) / profile.kernel_seconds
        yield f'<circle cx="{right - 6}" cy="{at - 4}" r="6" fill="{colour}" fill-opacity="0.6" stroke="{colour}"/>'
        yield text(right - 18, at, f"{family} {share:.1%}", anchor="end")
        at -= 20


def page(profile: Profile) -> str:
    """A self-contained HTML page: the plot, the table of all kernels, sorted by a click, and what was measured on."""
    facts = " · ".join(
        [
            f"{profile.seconds * 1e3:.4g} ms a call (median of {profile.runs})",
            f"{len(profile.kernels)} kernels, {profile.kernel_seconds * 1e3:.4g} ms",
            _threads(profile.peaks.threads),
            machine_text(profile.machine),
            *(f"{k} {v}" for k, v in profile.versions.items()),
        ]
    )
    return report_page(
        f"Profile of {profile.name}",
        resources.files("nnefc.tools") / "profile.html",
        profile.record(),
        heading=escape(profile.name),
        facts=escape(facts),
        svg=svg(profile),
    )

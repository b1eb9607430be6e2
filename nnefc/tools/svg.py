"""What plots are drawn with: pieces of SVG as text."""

from __future__ import annotations

from html import escape

COLOURS = ("#1f6fb4", "#d1601f", "#2f8f4e", "#8450a8", "#b3344f", "#7a5c2e", "#4a7d8c", "#8c8c2b", "#555555")
STYLE = "font-family: system-ui, 'DejaVu Sans', sans-serif; font-size: 13px; fill: #222"


def start(width: float, height: float, title: str) -> str:
    """The opening of a plot on white, with its title for readers that do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" style="{STYLE}">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{width:g}" height="{height:g}" fill="#fff"/>'
    )


def text(
    x: float, y: float, said: str, fill: str = "#222", anchor: str = "start", size: int = 13, more: str = ""
) -> str:
    """A line of text; ``more`` are further attributes."""
    at = f'x="{x:.1f}" y="{y:.1f}"'
    style = f'fill="{fill}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {at} {style} {more}>{escape(said)}</text>"


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line with these attributes."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'

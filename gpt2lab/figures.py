"""The look that all figures share.

Figures are matplotlib `Figure` objects made without pyplot, whose global state is not safe between
threads. Colours come from one of two themes, so that pictures follow the page's light or dark mode.
Probabilities and attention use viridis, a sequential palette that colour-blind readers can read;
numbers with a sign are red above zero and blue below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

LONGEST_LABEL = 16
"""Characters of a token that a label shows; the table and the ids are complete."""


@dataclass(frozen=True)
class Theme:
    """Colours of one mode: paper behind, ink for text, faint for grids, accent for bars."""

    paper: str
    ink: str
    faint: str
    accent: str


LIGHT = Theme(paper="#ffffff", ink="#1f2937", faint="#d1d5db", accent="#4338ca")
DARK = Theme(paper="#18181b", ink="#e5e7eb", faint="#3f3f46", accent="#a5b4fc")
COLORMAP = "viridis"
DIVERGING = {False: "RdBu_r", True: "berlin"}
"""Blue below zero, red above, and at zero the colour of the paper, which is dark or not."""
SIGNED = {False: ("#b2322f", "#2a6db0"), True: ("#e07b6a", "#6aa5e0")}
"""The same for bars: above zero, below zero."""


def theme(dark: bool) -> Theme:
    """Theme of the page's mode."""
    return DARK if dark else LIGHT


def new_figure(width: float, height: float, dark: bool) -> Figure:
    """Empty figure of that many inches, on the theme's paper."""
    return Figure(
        figsize=(width, height), dpi=110, layout="constrained", facecolor=theme(dark).paper
    )


def style(axes: Axes, dark: bool) -> None:
    """Give axes the theme's colours."""
    colours = theme(dark)
    axes.set_facecolor(colours.paper)
    axes.tick_params(colors=colours.ink, labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(colours.faint)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(colours.ink)
        text.set_fontsize(10)


def tint(colour: str, share: float, dark: bool) -> tuple[float, float, float]:
    """`share` of a colour on the theme's paper: an opaque, lighter version of it."""
    pairs = zip(to_rgb(colour), to_rgb(theme(dark).paper), strict=True)
    red, green, blue = (share * one + (1 - share) * paper for one, paper in pairs)
    return red, green, blue


def label(shown: str) -> str:
    """Token as a figure can draw it: short, with code points for what the font does not have."""
    text = "".join(one if drawable(one) else f"‹U+{ord(one):04X}›" for one in shown)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def drawable(character: str) -> bool:
    """Whether the figures' font has a shape for it."""
    return ord(character) in _glyphs()


def token_ticks(axes: Axes, which: str, labels: Sequence[str], most: int, first: int = 0) -> None:
    """Label an axis with tokens, at most about `most` of them, evenly spread.

    `first` is the position of the first one in the text.
    """
    every = max(1, -(-len(labels) // most))
    places = range(0, len(labels), every)
    texts = [label(labels[place]) for place in places]
    if every > 1:
        texts = [f"{first + place} {text}" for place, text in zip(places, texts, strict=True)]
    if which == "x":
        axes.set_xticks(places, texts, rotation=90, parse_math=False)
    else:
        axes.set_yticks(places, texts, parse_math=False)


def bars(axes: Axes, labels: Sequence[str], values: Sequence[float], dark: bool) -> None:
    """Horizontal bars, the first on top, starting at zero, the value written behind each.

    `labels` are drawn as they are; tokens go through `label` first.
    """
    colours = theme(dark)
    places = np.arange(len(values))
    drawn = axes.barh(places, values, color=colours.accent, height=0.7)
    axes.set_yticks(places, list(labels), parse_math=False)
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlim(0, max(*values, 1e-12) * 1.25)
    axes.bar_label(drawn, fmt="%.3g", padding=3, color=colours.ink, fontsize=8)
    style(axes, dark)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def ink_on(share: float) -> str:
    """Colour of text that can be read on COLORMAP's colour for `share`, from 0 to 1."""
    return "black" if share > 0.55 else "white"


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())

"""A text as a strip of chips, one per token, wrapped into rows like the text itself.

Each chip says what a person reads of its token, with the id below. Bytes that make up one character
together share a chip, and the character stands above it. Everything is placed in inches, since
matplotlib knows how wide a text is but not how to wrap.

The chips of a strip have two colours in turn; or each token has the colour of a number, on a scale
that is drawn at the right of the title.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from gpt2lab.figures import COLORMAP, new_figure, theme, tint

WIDTH, LEFT, RIGHT, HEAD, FOOT = 9.0, 0.62, 8.8, 0.74, 0.32
CHIP, PADDING, GAP, ROW, ROW_WITH_NAMES = 0.27, 0.075, 0.05, 0.55, 0.7
TEXT_SIZE, SMALL_SIZE = 9.5, 6.5
"""Inches, and points of the two sizes of text in the strip."""
SCALE_LEFT = 6.1
"""Inches from the left where the scale of the colours begins."""

Colour = tuple[float, float, float]


MOST_CHIPS = 120
"""Tokens of a long text that are drawn as chips."""


@dataclass(frozen=True)
class Chip:
    """A token, or the tokens that make up a character together.

    position: of the (first) token in the text.
    texts, below: one entry per token; what stands in the chip and under it.
    name: what stands above; a chip that has a name has an outline.
    shares: one entry per token, its place on the scale of colours from 0 to 1, None for grey; empty
        in a strip that has no scale.
    """

    position: int
    texts: tuple[str, ...]
    below: tuple[str, ...]
    name: str = ""
    shares: tuple[float | None, ...] = ()

    @cached_property
    def widths(self) -> tuple[float, ...]:
        """Inches that each token takes."""
        return tuple(
            max(inches(text, TEXT_SIZE) + 2 * PADDING, inches(below, SMALL_SIZE) + PADDING)
            for text, below in zip(self.texts, self.below, strict=True)
        )

    def halves(self) -> tuple["Chip", "Chip"]:
        """The chip cut in two."""
        cut = len(self.texts) // 2
        return (
            Chip(self.position, self.texts[:cut], self.below[:cut], self.name, self.shares[:cut]),
            Chip(self.position + cut, self.texts[cut:], self.below[cut:], "…", self.shares[cut:]),
        )


@dataclass(frozen=True)
class Head:
    """What stands over the strip: a title with a note at its right, a bar, and a line of facts.

    filled: how much of the bar, from 0 to 1; None: there is no bar.
    """

    title: str
    note: str
    facts: str
    filled: float | None


def window(groups: Sequence[range], position: int, most: int = MOST_CHIPS) -> list[range]:
    """The groups, tokens that make up a character together, that are drawn around a position.

    They have about `most` tokens, and none is cut, unless it has far too many of them.
    """
    count = groups[-1].stop if groups else 0
    begin = max(0, min(position - most // 2, count - most))
    first = next((one.start for one in groups if one.stop > begin), 0)
    first = max(first, begin - most // 4)
    end = count if begin + most >= count else first + most
    last = next((one.stop for one in groups if one.stop >= end), 0)
    last = min(last, end + most // 4)
    return [
        range(max(one.start, first), min(one.stop, last))
        for one in groups
        if one.start < last and one.stop > first
    ]


def strip(
    chips: Sequence[Chip],
    head: Head,
    legend: str,
    dark: bool = False,
    ticks: Sequence[tuple[float, str]] = (),
    colormap: str = COLORMAP,
) -> Figure:
    """The chips in rows, each row with the position of its first token at the left.

    ticks: places on the scale of colours, from 0 to 1, and what is written there.
    colormap: which colours the scale has.
    """
    rows = wrapped(chips)
    heights = [ROW_WITH_NAMES if any(chip.name for chip in row) else ROW for row in rows]
    height = HEAD + sum(heights) + FOOT
    drawing = new_figure(WIDTH, height, dark)
    drawing.set_layout_engine(None)
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    heading(axes, head, dark)
    if ticks:
        draw_scale(axes, ticks, height, dark, colormap)
    bottom, number = HEAD, 0
    for row, row_height in zip(rows, heights, strict=True):
        bottom += row_height
        top, left = bottom - ROW + 0.06, LEFT
        first = f"{row[0].position:,}"
        write(axes, LEFT - 0.14, top + CHIP / 2, first, SMALL_SIZE, dark, 0.6, "right")
        for chip in row:
            draw_chip(axes, chip, left, top, bool(number % 2), dark, colormap)
            left += sum(chip.widths) + GAP
            number += 1
    write(axes, LEFT, height - FOOT / 2 - 0.02, legend, SMALL_SIZE + 0.5, dark, 0.7)
    return drawing


def wrapped(chips: Sequence[Chip]) -> list[list[Chip]]:
    """The chips in rows that fit the paper; a chip that is longer than a row is cut."""
    rows: list[list[Chip]] = []
    left = RIGHT
    waiting = list(reversed(chips))
    while waiting:
        chip = waiting.pop()
        width = sum(chip.widths)
        if width > RIGHT - LEFT and len(chip.texts) > 1:
            waiting += reversed(chip.halves())
            continue
        if left + width > RIGHT:
            rows.append([])
            left = LEFT
        rows[-1].append(chip)
        left += width + GAP
    return rows


def heading(axes: Axes, head: Head, dark: bool) -> None:
    """Write the head into axes that are measured in inches, from the top."""
    colours = theme(dark)
    write(axes, LEFT, 0.24, head.title, 10.5, dark)
    write(axes, RIGHT, 0.24, head.note, 8.5, dark, align="right")
    if head.filled is not None:
        full = LEFT + (RIGHT - LEFT) * min(1.0, head.filled)
        for end, colour in ((RIGHT, colours.faint), (full, colours.accent)):
            axes.plot([LEFT, end], [0.42, 0.42], color=colour, linewidth=3, solid_capstyle="butt")
    write(axes, LEFT, 0.57 if head.filled is not None else 0.47, head.facts, 8, dark, 0.7)


def draw_scale(
    axes: Axes, ticks: Sequence[tuple[float, str]], height: float, dark: bool, colormap: str
) -> None:
    """The colours from 0 to 1, with the numbers that they stand for."""
    extent = (SCALE_LEFT, RIGHT, 0.34, 0.18)
    gradient = np.linspace(0, 1, 256)[None]
    axes.imshow(gradient, colormap, extent=extent, aspect="auto", interpolation="bilinear")
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    for share, text in ticks:
        x = SCALE_LEFT + share * (RIGHT - SCALE_LEFT)
        axes.plot([x, x], [0.34, 0.38], color=tint(theme(dark).ink, 0.6, dark), linewidth=0.8)
        write(axes, x, 0.47, text, SMALL_SIZE + 0.5, dark, 0.8, "center")


def draw_chip(
    axes: Axes, chip: Chip, left: float, top: float, other: bool, dark: bool, colormap: str
) -> None:
    """One chip: in one of the two colours, or each of its tokens in the colour of its number."""
    colours = theme(dark)
    grey, accent = tint(colours.ink, 0.09, dark), tint(colours.accent, 0.2, dark)
    coloured = [grey if share is None else colour_of(share, colormap) for share in chip.shares]
    edge = tint(colours.accent, 0.7, dark)
    if not coloured:
        _box(axes, left, top, sum(chip.widths), grey if other else accent, edge, bool(chip.name))
    write(axes, left + 0.03, top - 0.085, chip.name, SMALL_SIZE + 0.5, dark, 0.85)
    for place, (text, below) in enumerate(zip(chip.texts, chip.below, strict=True)):
        width, ink = chip.widths[place], colours.ink
        if coloured:
            _box(axes, left, top, width, coloured[place], edge, bool(chip.name))
            ink = colours.ink if chip.shares[place] is None else readable_on(coloured[place])
        elif place:
            between = tint(colours.accent, 0.45, dark)
            axes.plot([left, left], [top + 0.01, top + CHIP - 0.01], color=between, linewidth=0.8)
        middle = left + width / 2
        write(axes, middle, top + CHIP / 2 + 0.005, text, TEXT_SIZE, dark, 1, "center", ink)
        write(axes, middle, top + CHIP + 0.09, below, SMALL_SIZE, dark, 0.65, "center")
        left += width


def _box(
    axes: Axes, left: float, top: float, width: float, colour: Colour, edge: Colour, outlined: bool
) -> None:
    box = FancyBboxPatch(
        (left, top),
        width,
        CHIP,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=colour,
        edgecolor=edge if outlined else "none",
        linewidth=0.8 if outlined else 0,
    )
    axes.add_patch(box)


def colour_of(share: float, colormap: str = COLORMAP) -> Colour:
    """The scale's colour at a place from 0 to 1."""
    red, green, blue, _ = colormaps[colormap](share)
    return red, green, blue


def luminance(colour: Colour) -> float:
    """How bright a colour is to the eye, from 0 to 1: the relative luminance of WCAG."""
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def readable_on(colour: Colour) -> str:
    """Black or white, whichever has more contrast on a colour: 4.5 : 1 or more on any."""
    bright = luminance(colour)
    return "black" if (bright + 0.05) / 0.05 > 1.05 / (bright + 0.05) else "white"


@lru_cache(maxsize=4096)
def inches(text: str, size: float) -> float:
    """Width of a text of so many points."""
    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def write(
    axes: Axes,
    x: float,
    y: float,
    text: str,
    size: float,
    dark: bool,
    strength: float = 1.0,
    align: str = "left",
    ink: str = "",
) -> None:
    """Write a text as it is, whatever signs it has, in a strength of the theme's ink."""
    axes.text(
        x,
        y,
        text,
        size=size,
        color=tint(ink or theme(dark).ink, strength, dark),
        ha=align,
        va="center_baseline",
        parse_math=False,
    )

"""A word as a ladder: a rung of boxes for each step in which some of its pieces were joined.

Every byte is one cell wide on all rungs, so that a piece stands below the pieces it was made of.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from gpt2lab.chips import LEFT, RIGHT, SMALL_SIZE, WIDTH, Head, heading, inches, write
from gpt2lab.figures import new_figure, theme, tint

HEAD, FOOT, RUNG, BOX, GAP, MARGIN = 0.74, 0.36, 0.36, 0.27, 0.03, 0.03
WIDEST_CELL = 0.42
SIDE = 1.75
"""Inches at the right of the boxes, for what is said about each rung."""
TEXT_SIZES = (9.0, 7.5, 6.5)
"""Points: a text is made smaller rather than left out."""


@dataclass(frozen=True)
class Box:
    """One piece on one rung.

    begin, end: the cells that it takes, from the first that is drawn.
    texts: what may stand in it, the first that fits does.
    joins: the cells before which it was joined on this rung; empty for a piece as it was.
    below: what stands under it.
    """

    begin: int
    end: int
    texts: tuple[str, ...]
    joins: tuple[int, ...] = ()
    below: str = ""


@dataclass(frozen=True)
class Rung:
    """One row: what stands at its left and right, and its boxes; without any, only `right`."""

    left: str
    right: str
    boxes: tuple[Box, ...] = ()


def ladder(
    rungs: Sequence[Rung], cells: int, head: Head, legend: str, dark: bool = False
) -> Figure:
    """The rungs from top to bottom."""
    height = HEAD + RUNG * len(rungs) + FOOT
    if any(box.below for box in rungs[-1].boxes):
        height += 0.1
    drawing = new_figure(WIDTH, height, dark)
    drawing.set_layout_engine(None)
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    heading(axes, head, dark)
    cell = min(WIDEST_CELL, (RIGHT - SIDE - LEFT) / cells)
    for number, rung in enumerate(rungs):
        top = HEAD + RUNG * number
        middle = top + BOX / 2
        write(axes, LEFT - 0.14, middle, rung.left, SMALL_SIZE + 0.5, dark, 0.7, "right")
        right = LEFT + (cells * cell + 0.15 if rung.boxes else 0)
        write(axes, right, middle, rung.right, 8, dark, 0.85)
        for box in rung.boxes:
            _draw(axes, box, top, cell, dark)
    write(axes, LEFT, height - FOOT / 2, legend, SMALL_SIZE + 0.5, dark, 0.7)
    return drawing


def _draw(axes: Axes, box: Box, top: float, cell: float, dark: bool) -> None:
    colours = theme(dark)
    left = LEFT + box.begin * cell
    width = (box.end - box.begin) * cell - GAP
    accent = tint(colours.accent, 0.8, dark)
    fill = tint(colours.accent, 0.25, dark) if box.joins else tint(colours.ink, 0.09, dark)
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            width,
            BOX,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor=fill,
            edgecolor=accent if box.joins else "none",
            linewidth=0.9 if box.joins else 0,
        )
    )
    middle = left + width / 2
    for place in box.joins:
        seam = LEFT + place * cell - GAP / 2
        # Short, so that it does not cross out a letter.
        for begin in (top, top + BOX - 0.05):
            axes.plot([seam, seam], [begin, begin + 0.05], color=accent, linewidth=1.0)
    text, size = fitting(box.texts, width - MARGIN)
    write(axes, middle, top + BOX / 2 + 0.005, text, size, dark, 1, "center")
    if inches(box.below, SMALL_SIZE - 0.5) <= width + GAP:
        write(axes, middle, top + BOX + 0.08, box.below, SMALL_SIZE - 0.5, dark, 0.7, "center")


def fitting(texts: Sequence[str], width: float) -> tuple[str, float]:
    """The first text that fits, in the largest size that does; nothing if none fits."""
    for text in texts:
        for size in TEXT_SIZES:
            if inches(text, size) <= width:
                return text, size
    return "", TEXT_SIZES[-1]

"""Matrices of a batch, cell by cell: what stands in each, in which colour, and where it is padding.

A row of a matrix is a text and a column a place in it. Of a wide matrix the first and the last
columns are drawn, with the number of those between them. Everything is placed in inches, in one
picture with the text above and below it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import drawable, theme, tint

Colour = tuple[float, float, float]

WIDTH, LEFT, RIGHT = 9.0, 0.5, 8.85
MOST_COLUMNS = 14
FIRST_COLUMNS = 4
"""Of a wide matrix so many columns are drawn from its beginning, the rest from its end."""
LONGEST_CELL = 8
HEAD, LINE = 0.34, 0.21
"""Inches of a matrix' title, and from one line of text to the next."""
CHARACTER = 0.0078
"""Inches that a character takes on average, for each point of its size."""


@dataclass(frozen=True)
class Cell:
    """One number of a matrix: what is written there, below it in small, and the colour behind."""

    text: str
    colour: Colour
    below: str = ""
    padding: bool = False


def window(width: int) -> list[int | None]:
    """The columns that are drawn; None for those that are left out."""
    if width <= MOST_COLUMNS:
        return list(range(width))
    last = MOST_COLUMNS - FIRST_COLUMNS - 1
    return [*range(FIRST_COLUMNS), None, *range(width - last, width)]


def canvas(drawing: Figure, height: float) -> Axes:
    """Axes over all of the figure, in inches from its upper left corner."""
    drawing.set_layout_engine(None)
    axes = drawing.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    return axes


def write_line(axes: Axes, x: float, y: float, text: str, dark: bool, size: float = 8.5) -> None:
    """Text in ink, as it is: no part of it is markup. What would leave the figure is cut."""
    shown = "".join(one if drawable(one) else f"‹U+{ord(one):04X}›" for one in text)
    most = int((RIGHT - x) / (size * CHARACTER))
    if len(shown) > most:
        shown = shown[: most - 1] + "…"
    axes.text(x, y, shown, color=theme(dark).ink, fontsize=size, va="center", parse_math=False)


def write_lines(
    axes: Axes, x: float, y: float, lines: Sequence[str], dark: bool, size: float = 8.5
) -> None:
    """Lines one below the other, the first at `y`."""
    for number, line in enumerate(lines):
        write_line(axes, x, y + number * LINE, line, dark, size)


def matrix_height(rows: int, cell: float) -> float:
    """Inches that a matrix takes with its title."""
    return HEAD + rows * cell


def draw_matrix(
    axes: Axes, top: float, title: str, cells: Sequence[Sequence[Cell]], cell: float, dark: bool
) -> None:
    """A matrix whose cells are `cell` inches high, with its title, below `top`.

    `cells` has the columns of `window` only. The last column is framed, since it is what
    `generate` goes on from.
    """
    width = (RIGHT - LEFT) / MOST_COLUMNS
    count = len(cells[0])
    write_line(axes, LEFT, top + HEAD / 2, title, dark, 9.0)
    for number, row in enumerate(cells):
        y = top + HEAD + number * cell
        write_line(axes, LEFT - 0.2, y + cell / 2, str(number), dark, 8.0)
        for place, one in enumerate(row):
            _draw_cell(axes, one, LEFT + place * width, y, width, cell, dark)
    frame = Rectangle((LEFT + (count - 1) * width, top + HEAD), width, len(cells) * cell)
    frame.set(fill=False, edgecolor=theme(dark).accent, linewidth=1.8)
    axes.add_patch(frame)


def _draw_cell(
    axes: Axes, cell: Cell, x: float, y: float, width: float, height: float, dark: bool
) -> None:
    colours = theme(dark)
    patch = Rectangle(
        (x + 0.015, y + 0.015), width - 0.03, height - 0.03, facecolor=cell.colour, linewidth=0
    )
    if cell.padding:
        patch.set(hatch="////", edgecolor=tint(colours.ink, 0.28, dark))
    axes.add_patch(patch)
    ink = _ink_on(cell.colour)
    middle = y + (height * 0.38 if cell.below else height / 2)
    common: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "parse_math": False}
    axes.text(x + width / 2, middle, _short(cell.text), fontsize=7.5, **common)
    if cell.below:
        axes.text(x + width / 2, y + height * 0.77, cell.below, fontsize=5.8, **common)


def _short(text: str) -> str:
    """What fits into a cell, with code points for what the font does not have."""
    shown = "".join(one if drawable(one) else f"‹{ord(one):04X}›" for one in text)
    return shown if len(shown) <= LONGEST_CELL else shown[: LONGEST_CELL - 1] + "…"


def _ink_on(colour: Colour) -> str:
    red, green, blue = colour
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"

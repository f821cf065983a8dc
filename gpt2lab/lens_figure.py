"""Layers as rows of cells, the embedding on top and the output at the bottom, drawn.

The logit lens at one position has the ranks as its columns; the lens grid has positions. A cell
holds a token, in the colour of a number, and is framed where it holds the token that one follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from gpt2lab.figures import COLORMAP, bars, ink_on, label, new_figure, style, theme
from gpt2lab.tokens import readable

if TYPE_CHECKING:
    from gpt2lab.inspections.logit_lens import LogitLens

WIDE_CELLS, CELL, NARROW_CELL = 5, 1.3, 1.05
"""Up to five columns are wide, more are narrow: inches."""
CHARACTERS, CHARACTERS_ALONE = 8.5, 11
"""Of a token, in an inch of a cell: with a number beside it, and without."""


@dataclass(frozen=True, eq=False)
class Cells:
    """A table of tokens: tuples of rows, and (row, column) arrays.

    width: inches of a cell.
    shares: where each cell's number lies on the scale of colours, from 0 to 1.
    numbers: what stands at the right of each token; empty if nothing does.
    framed: which cells have a frame.
    """

    width: float
    shares: np.ndarray
    tokens: Sequence[Sequence[str]]
    numbers: Sequence[Sequence[str]]
    framed: np.ndarray


def draw_cells(axes: Axes, cells: Cells, dark: bool) -> None:
    """Draw the cells and name the rows; the columns have no names yet."""
    axes.imshow(cells.shares, cmap=COLORMAP, vmin=0, vmax=1, aspect="auto")
    room = int((CHARACTERS if cells.numbers else CHARACTERS_ALONE) * cells.width)
    for (row, column), share in np.ndenumerate(cells.shares):
        # What lies inside of its axes needs no room of its own: the layout is found sooner.
        common: dict[str, Any] = {"color": ink_on(share), "va": "center_baseline"}
        common |= {"parse_math": False, "in_layout": False}
        text = _short(cells.tokens[row][column], room)
        if cells.numbers:
            number = cells.numbers[row][column]
            axes.text(column - 0.45, row, text, fontsize=8, ha="left", **common)
            axes.text(column + 0.45, row, number, fontsize=6.5, ha="right", **common)
        else:
            axes.text(column, row, text, fontsize=8, ha="center", **common)
        if cells.framed[row, column]:
            _frame(axes, row, column)
    rows, columns = cells.shares.shape
    axes.set_yticks(range(rows), row_names(rows))
    axes.set_ylabel("layer")
    style(axes, dark)
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(rows - 1) + 0.5, minor=True)
    axes.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=theme(dark).paper, linewidth=1)
    axes.tick_params(which="minor", length=0)


def row_names(rows: int) -> list[str]:
    """Both ends of the stream say what they are."""
    return ["embedding  0", *(f"{row}" for row in range(1, rows - 1)), f"output  {rows - 1}"]


def _frame(axes: Axes, row: int, column: int) -> None:
    """White within black, which is seen on any colour."""
    frame = Rectangle((column - 0.48, row - 0.44), 0.96, 0.88, fill=False, zorder=3)
    frame.set(edgecolor="white", linewidth=1.4)
    frame.set_path_effects([withStroke(linewidth=3, foreground="black")])
    axes.add_patch(frame)


def _short(shown: str, room: int) -> str:
    text = label(shown)
    return text if len(text) <= room else text[: room - 1] + "…"


def figure(result: "LogitLens", dark: bool = False) -> Figure:
    """A row per layer: its most probable tokens, how far it is from the end, the followed token."""
    rows, cell = len(result.logits), CELL if result.show <= WIDE_CELLS else NARROW_CELL
    cells = max(2.0, cell * result.show)
    drawing = new_figure(cells + 5.4, 0.26 * rows + 2.2, dark)
    grid, distance, ranks = drawing.subplots(1, 3, width_ratios=[cells, 1.7, 1.7])
    shown = label(result.shown)
    title = f"tokens behind position {result.position}, {shown}, read off each layer"
    drawing.suptitle(
        f"{title}\n{result.formula}", color=theme(dark).ink, fontsize=10, parse_math=False
    )
    _draw_tops(grid, result, cell, dark)
    bars(distance, [""] * rows, result.kl_to_final_bits.tolist(), dark)
    distance.set_title("away from the output")
    distance.set_xlabel("KL divergence, bits")
    _draw_ranks(ranks, result, dark)
    for axes in (distance, ranks):
        axes.set_ylim(rows - 0.5, -0.5)
        style(axes, dark)
        axes.tick_params(axis="y", length=0)
    return drawing


def _draw_tops(axes: Axes, result: "LogitLens", cell: float, dark: bool) -> None:
    """The grid layer × rank, each cell with its token and probability, coloured by the latter."""
    ids = [result.top(layer) for layer in range(len(result.logits))]
    shares = np.stack([result.probabilities(layer)[top] for layer, top in enumerate(ids)])
    cells = Cells(
        width=cell,
        shares=shares,
        tokens=[[readable(result.tokens[id]) for id in top] for top in ids],
        numbers=[[percent(share) for share in row] for row in shares],
        framed=np.array(ids) == result.followed_id,
    )
    draw_cells(axes, cells, dark)
    title = "most probable" if result.show == 1 else "most probable, from left to right"
    axes.set_title(title, color=theme(dark).ink, fontsize=10)
    axes.set_xticks(range(result.show), [f"{place + 1}" for place in range(result.show)])
    axes.set_xlabel("rank in the layer", color=theme(dark).ink, fontsize=10)


def _draw_ranks(axes: Axes, result: "LogitLens", dark: bool) -> None:
    """The followed token's rank as a line, with its number and probability at the right."""
    colours, rows = theme(dark), len(result.logits)
    axes.plot(result.followed_ranks, range(rows), color=colours.accent, marker="o", markersize=4)
    axes.set_xscale("log")
    last = result.logits.shape[1]
    axes.set_xlim(0.7, 1.4 * last)
    ticks = [tick for tick in (1, 100, 10_000) if tick <= last]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xlabel("rank")
    shown = label(readable(result.tokens[result.followed_id]))
    axes.set_title(f"{shown}: rank · probability", parse_math=False)
    axes.yaxis.tick_right()
    numbers = zip(result.followed_ranks, result.followed_probabilities, strict=True)
    names = [f"{rank:,} · {percent(probability)}" for rank, probability in numbers]
    axes.set_yticks(range(rows), names)
    axes.grid(axis="x", color=colours.faint, linewidth=0.6)
    axes.minorticks_off()


def percent(share: float) -> str:
    """A probability in a small cell."""
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "<0.1%"

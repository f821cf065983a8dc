"""The lens grid, drawn: a column for each position of the window, a row for each layer."""

from typing import TYPE_CHECKING

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import COLORMAP, label, new_figure, theme
from gpt2lab.lens_figure import Cells, draw_cells
from gpt2lab.tokens import readable

if TYPE_CHECKING:
    from gpt2lab.inspections.lens_grid import LensGrid

CELL, WIDEST = 0.66, 1.3
"""Inches of a column: the narrowest, and how wide it gets where there are few."""
WIDTH = 6.6


def figure(result: "LensGrid", dark: bool = False) -> Figure:
    """Each cell with its most probable token; the column that is looked at has an outline."""
    layers, columns = result.shares.shape
    width = min(WIDEST, max(CELL, WIDTH / columns))
    drawing = new_figure(max(width * columns, 4.2) + 1.9, 0.26 * layers + 2.6, dark)
    axes, colours = drawing.subplots(), theme(dark)
    drawing.suptitle(
        f"{result.scale.title}\n{result.facts}\n{result.formula}",
        color=colours.ink,
        fontsize=9.5,
        parse_math=False,
    )
    tops = result.top_ids[..., 0]
    cells = Cells(
        width=max(width, 4.2 / columns),
        shares=result.shares,
        tokens=[[readable(result.tokens[id]) for id in row] for row in tops.tolist()],
        numbers=(),
        framed=tops == result.followed_ids,
    )
    draw_cells(axes, cells, dark)
    names = [
        f"{position:,} {label(readable(token))}"
        for position, token in enumerate(result.text_tokens, start=result.start)
    ]
    axes.set_xticks(range(columns), names, rotation=90, parse_math=False, fontsize=8)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("behind this token of the text", color=colours.ink, fontsize=10)
    if columns > 1:
        looked_at = Rectangle((result.column - 0.5, -0.5), 1, layers, fill=False, clip_on=False)
        looked_at.set(edgecolor=colours.accent, linewidth=2.2, zorder=4)
        axes.add_patch(looked_at)
    mapping = ScalarMappable(Normalize(0, 1), COLORMAP)
    scale = drawing.colorbar(mapping, ax=axes, pad=0.012, fraction=0.03, aspect=22)
    scale.set_ticks([place for place, _ in result.scale.ticks])
    scale.set_ticklabels([text for _, text in result.scale.ticks])
    scale.ax.tick_params(colors=colours.ink, labelsize=8)
    scale.set_label(result.scale.below, color=colours.ink, fontsize=9)
    scale.outline.set_edgecolor(colours.faint)
    return drawing

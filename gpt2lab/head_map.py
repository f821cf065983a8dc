"""A number for each head of each layer, as a map: blue below zero, red above."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpt2lab.figures import DIVERGING, theme

NUMBERED = 16
"""Up to so many layers and heads, the cells are large enough for their numbers."""
LAYER_LABELS = 16


def draw_head_map(drawing: Figure, axes: Axes, cells: np.ndarray, limit: float, dark: bool) -> None:
    """Draw `cells`, (layer, column), whose colours end at ±`limit`; NaN is an empty cell."""
    layers, columns = cells.shape
    limit = max(limit, 1e-12)
    beyond = "both" if float(np.nanmax(np.abs(cells))) > limit else "neither"
    drawn = axes.imshow(cells, cmap=DIVERGING[dark], vmin=-limit, vmax=limit, aspect="auto")
    if max(layers, columns) <= NUMBERED + 2:
        for (layer, column), value in np.ndenumerate(cells):
            if np.isnan(value):
                continue
            # One palette is light in the middle and dark at its ends, the other the reverse.
            light = (abs(value) < 0.6 * limit) != dark
            text = axes.text(column, layer, short(value), color="black" if light else "white")
            # What lies inside of its axes needs no room of its own: the layout is found sooner.
            text.set(fontsize=7, ha="center", va="center", in_layout=False)
    axes.set_yticks(range(0, layers, -(-layers // LAYER_LABELS)))
    axes.set_ylabel("layer")
    scale = drawing.colorbar(drawn, ax=axes, pad=0.02, fraction=0.04, extend=beyond)
    scale.ax.tick_params(colors=theme(dark).ink, labelsize=8)
    scale.outline.set_edgecolor(theme(dark).faint)


def head_ticks(heads: int) -> range:
    """Heads that have a label."""
    return range(0, heads, 1 if heads <= NUMBERED else 2)


def short(value: float) -> str:
    """A contribution or change, for a small cell."""
    return (f"{value:z.2f}" if abs(value) < 100 else f"{value:.0f}").replace("-", "−")

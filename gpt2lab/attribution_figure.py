"""What each part of the model adds to a logit, drawn: heads as a map, the rest as bars."""

from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpt2lab.figures import SIGNED, new_figure, style, theme
from gpt2lab.head_map import LAYER_LABELS, NUMBERED, draw_head_map, head_ticks, short
from gpt2lab.logit_parts import Attribution


def figure(result: Attribution, dark: bool = False) -> Figure:
    """Heads as a map and MLPs as bars, a row per layer; below, the sum of all kinds of parts."""
    layers, heads = result.heads.shape
    cell = 0.46 if max(layers, heads) <= NUMBERED else 0.24
    height = min(0.3 * layers, 9.0)
    drawing = new_figure(max(cell * heads, 2.6) + 4.4, height + 3.6, dark)
    grid = drawing.add_gridspec(
        2, 2, width_ratios=[max(cell * heads, 2.6), 2.6], height_ratios=[height + 0.6, 1.9]
    )
    above, beside = drawing.add_subplot(grid[0, 0]), drawing.add_subplot(grid[0, 1])
    below = drawing.add_subplot(grid[1, :])
    drawing.suptitle(result.title, color=theme(dark).ink, fontsize=11, parse_math=False)
    draw_head_map(drawing, above, result.heads, float(np.abs(result.heads).max()), dark)
    above.set_xticks(head_ticks(heads))
    above.set_title("attention heads")
    above.set_xlabel("head")
    _draw_bars(beside, result.mlps, dark)
    every = -(-layers // LAYER_LABELS)
    beside.set_yticks(range(0, layers, every))
    beside.set_ylim(layers - 0.5, -0.5)
    beside.set_title("MLPs")
    groups = result.groups
    _draw_bars(below, np.array([*groups.values(), result.logit]), dark)
    names = [*groups, result.explained]
    below.set_yticks(range(len(names)), names)
    below.axhline(len(groups) - 0.5, color=theme(dark).ink, linewidth=0.8)
    lines = wrap(result.formula, int(9 * drawing.get_figwidth()))
    below.set_title("\n".join(lines), parse_math=False)
    below.set_xlabel("contribution")
    for axes in (above, beside, below):
        style(axes, dark)
        axes.tick_params(axis="y", length=0)
    below.title.set_fontsize(8.5)
    for axes in (beside, below):
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    return drawing


def _draw_bars(axes: Axes, values: np.ndarray, dark: bool) -> None:
    """Horizontal bars to both sides of zero, the first on top, each with its number."""
    colours = SIGNED[dark]
    drawn = axes.barh(
        range(len(values)), values, color=[colours[int(one < 0)] for one in values], height=0.7
    )
    axes.bar_label(
        drawn, [short(one) for one in values], padding=3, color=theme(dark).ink, fontsize=8
    )
    reach = max(float(np.abs(values).max()), 1e-12)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    axes.set_xlim(low - 0.3 * reach * (low < 0), high + 0.3 * reach * (high > 0))
    axes.axvline(0, color=theme(dark).ink, linewidth=0.8)
    axes.set_ylim(len(values) - 0.4, -0.6)

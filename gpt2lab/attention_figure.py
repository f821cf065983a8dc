"""The picture of an attention map: all queries and keys, and above it the row of one query."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gpt2lab.figures import COLORMAP, label, new_figure, style, theme, token_ticks

if TYPE_CHECKING:
    from gpt2lab.inspections.attention import AttentionMap

ALL_LABELS = 32
"""Up to so many tokens, every one gets its label; beyond, they are spread evenly."""
LOWEST = 1e-5
"""Where the logarithmic scale of colours begins; smaller weights look like this one."""
ROW = 0.16
"""Height of the row above the map, as a share of the map's."""


def draw_attention(result: "AttentionMap", dark: bool = False) -> Figure:
    """The map of an `AttentionMap`, queries downwards, keys to the right, and one row as bars."""
    first = result.first_drawn
    weights, shown = result.weights[first:, first:], result.shown[first:]
    size = min(9.0, max(4.5, 0.3 * len(shown) + 2.5))
    drawing = new_figure(size + 1, size * (1 + ROW) + 0.3, dark)
    axes = drawing.subplots()
    ahead = np.triu(np.ones_like(weights, dtype=bool), 1)
    drawn = axes.imshow(
        np.ma.array(np.maximum(weights, LOWEST) if result.log_scale else weights, mask=ahead),
        cmap=COLORMAP,
        norm=LogNorm(LOWEST, 1) if result.log_scale else Normalize(0, 1),
        interpolation="nearest",
    )
    axes.set_title("\n".join(_title(result)), parse_math=False)
    axes.set_xlabel("key: the token that is looked at")
    axes.set_ylabel("query: the token that looks")
    most = ALL_LABELS if len(shown) <= ALL_LABELS else 16
    token_ticks(axes, "x", shown, most, first)
    token_ticks(axes, "y", shown, most, first)
    style(axes, dark)
    below = "min" if result.log_scale else "neither"
    scale = drawing.colorbar(drawn, ax=axes, shrink=0.7, label="attention weight", extend=below)
    scale.ax.yaxis.label.set_color(theme(dark).ink)
    scale.ax.tick_params(colors=theme(dark).ink, which="both")
    scale.outline.set_edgecolor(theme(dark).faint)
    if result.position >= first:
        _draw_row(axes, result, dark)
    return drawing


def _title(result: "AttentionMap") -> list[str]:
    lines = [result.title]
    if result.first_drawn:
        count = len(result.ids) - result.first_drawn
        lines.append(f"the last {count:,} of {len(result.ids):,} tokens")
    if result.hide_first:
        share, mean = result.removed[result.position], result.removed.mean()
        lines.append(f"first key hidden: {share:.3g} of this row, {mean:.3g} of a row on average")
    return lines


def _draw_row(axes: Axes, result: "AttentionMap", dark: bool) -> None:
    """The weights of the query that is looked at, above their columns, and a frame in the map."""
    first, colours = result.first_drawn, theme(dark)
    row = result.weights[result.position, first:]
    bars = axes.inset_axes((0, 1.03, 1, ROW), sharex=axes)
    bottom = LOWEST if result.log_scale else 0
    edges = np.arange(len(row) + 1) - 0.5
    bars.stairs(np.maximum(row, bottom), edges, baseline=bottom, fill=True, color=colours.accent)
    if result.log_scale:
        bars.set_yscale("log")
    bars.set_ylim(bottom, 1 if result.log_scale else 1.08 * float(row.max()) or 1)
    style(bars, dark)
    bars.tick_params(labelbottom=False, labelsize=7)
    for side in ("top", "right"):
        bars.spines[side].set_visible(False)
    text = f"query {result.position:,}\n{label(result.shown[result.position])}"
    bars.text(
        1.02, 0.5, text, transform=bars.transAxes, color=colours.ink, fontsize=9, va="center",
        parse_math=False,
    )  # fmt: skip
    seen = result.position - first
    frame = Rectangle((-0.5, seen - 0.5), seen + 1, 1, fill=False, edgecolor=colours.accent)
    axes.add_patch(frame)

"""A token's path, drawn: its states as points of a plane, and the tokens each is nearest to."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from gpt2lab.chips import colour_of, readable_on
from gpt2lab.figures import COLORMAP, label, new_figure, style, theme, tint
from gpt2lab.tokens import readable

if TYPE_CHECKING:
    from gpt2lab.inspections.path import Path

NUMBERED = 13
"""States whose points all have a number; of more, some have, the last one always."""
CELL = 1.15
"""Inches that a nearest token takes."""
LONGEST = 10
"""Characters of a token in a cell."""


def figure(result: "Path", dark: bool = False) -> Figure:
    """The path at the left, the nearest tokens and the lens's first at the right, by layer."""
    layers, show = result.cosines.shape
    cells = CELL * (show + 1)
    drawing = new_figure(4.6 + cells + 0.9, max(4.8, 0.27 * layers + 1.3), dark)
    plane, grid = drawing.subplots(1, 2, width_ratios=[4.6, cells + 0.9])
    title = f"position {result.position}, {label(result.shown)}, through the layers"
    drawing.suptitle(title, color=theme(dark).ink, fontsize=11, parse_math=False)
    _draw_path(plane, result, dark)
    _draw_nearest(grid, result, dark)
    return drawing


def _draw_path(axes: Axes, result: "Path", dark: bool) -> None:
    """A line from the embedding to the last state, in the colours of depth; others faintly."""
    colours, points = theme(dark), result.coordinates
    last = len(points) - 1
    nearby = LineCollection(list(result.nearby), colors=[tint(colours.ink, 0.22, dark)])
    nearby.set_linewidth(0.8)
    axes.add_collection(nearby)
    # Two points for each step, so that each has the colour of where it leads.
    steps = LineCollection(
        list(np.stack([points[:-1], points[1:]], axis=1)),
        colors=[colour_of(layer / last) for layer in range(1, last + 1)],
        linewidth=2,
    )
    axes.add_collection(steps)
    axes.scatter(
        points[:, 0], points[:, 1], c=np.arange(last + 1), cmap=COLORMAP, s=42, zorder=3,
        edgecolors=colours.ink, linewidths=0.7,
    )  # fmt: skip
    # The path itself fills the picture; where another token's leaves it, it is cut. Both axes have
    # one scale, since they measure the same thing.
    low, high = points.min(0), points.max(0)
    (x, y), reach = (low + high) / 2, 0.62 * float((high - low).max()) or 1.0
    axes.set_xlim(x - reach, x + reach)
    axes.set_ylim(y - reach, y + reach)
    axes.set_box_aspect(1)
    every = -(-(last + 1) // NUMBERED)
    for layer in (*range(0, last - every + 1, every), last):
        right = points[layer, 0] > x
        axes.annotate(
            {0: "0 embedding", last: f"{last} after ln_f"}.get(layer, f"{layer}"),
            points[layer],
            xytext=(-6, 5) if right else (6, 5),
            ha="right" if right else "left",
            textcoords="offset points",
            fontsize=8,
            color=colours.ink,
            zorder=4,
            path_effects=[withStroke(linewidth=2.5, foreground=colours.paper)],
        )
    first, second = result.explained_variance.tolist()
    axes.set_xlabel(f"first component: {first:.0%} of the variance")
    axes.set_ylabel(f"second component: {second:.0%}")
    what = "each state divided by its length" if result.unit_length else "raw states"
    axes.set_title(what + ("; faint: tokens nearby" if len(result.nearby) else ""))
    style(axes, dark)
    axes.grid(color=tint(colours.faint, 0.5, dark), linewidth=0.5)
    axes.set_axisbelow(True)


def _draw_nearest(axes: Axes, result: "Path", dark: bool) -> None:
    """Rows of layers: the tokens nearest by cosine, coloured by it; at the right the lens's."""
    colours = theme(dark)
    layers, show = result.cosines.shape
    high = max(float(result.cosines.max()), 1e-6)
    axes.imshow(
        result.cosines, cmap=COLORMAP, vmin=0, vmax=high, aspect="auto",
        extent=(-0.5, show - 0.5, layers - 0.5, -0.5),
    )  # fmt: skip
    for (layer, place), cosine in np.ndenumerate(result.cosines):
        ink = readable_on(colour_of(min(1.0, max(0.0, float(cosine) / high))))
        token = _short(result.tokens[int(result.nearest_ids[layer, place])])
        common: dict[str, Any] = {"color": ink, "va": "center_baseline", "in_layout": False}
        axes.text(place - 0.45, layer, token, fontsize=8, parse_math=False, **common)
        written = f"{cosine:.2f}".replace("-", "−")
        axes.text(place + 0.45, layer, written, fontsize=6.5, ha="right", **common)
    for layer in range(layers):
        token = _short(result.tokens[int(result.lens_ids[layer, 0])])
        axes.text(
            show - 0.4, layer, token, fontsize=8, parse_math=False, color=colours.ink,
            va="center_baseline",
        )  # fmt: skip
    axes.set_xlim(-0.5, show + 0.5)
    axes.set_xticks([*range(show), show], [*map(str, range(1, show + 1)), "logit lens"])
    axes.set_title("nearest token embeddings, with the cosine")
    last = layers - 1
    names = {0: "embedding  0", last: f"after ln_f  {last}"}
    axes.set_yticks(range(layers), [names.get(layer, f"{layer}") for layer in range(layers)])
    axes.set_ylabel("layer")
    style(axes, dark)
    axes.tick_params(length=0)
    axes.set_yticks(np.arange(last) + 0.5, minor=True)
    axes.set_xticks(np.arange(show) + 0.5, minor=True)
    axes.grid(which="minor", color=colours.paper, linewidth=1)
    axes.tick_params(which="minor", length=0)


def _short(token: str) -> str:
    text = label(readable(token))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
